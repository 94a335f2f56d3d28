"""Why no output can be held to a grammar, told without a word of it."""

import re

from llama4coder.errors import Llama4CoderError

# Words of JSON Schema and of regular expressions, the only ones that an answer may repeat: they hold no content.
_KEYWORDS = (
    *("$anchor", "$dynamicRef", "$ref", "additionalItems", "additionalProperties", "allOf", "anyOf", "const"),
    *("contains", "contentEncoding", "contentMediaType", "dependencies", "dependentRequired", "dependentSchemas"),
    *("else", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "if", "items", "maxContains", "maximum"),
    *("maxItems", "maxLength", "maxProperties", "minContains", "minimum", "minItems", "minLength", "minProperties"),
    *("multipleOf", "oneOf", "pattern", "patternProperties", "prefixItems", "properties", "propertyNames"),
    *("required", "then", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
    *("look-around", "backreferences", "regex"),
)
_NOT = '"not"'  # the keyword, as llguidance quotes it, and not the word

# What llguidance says, in part -> what a client is told; the first that fits.
_REASONS = {
    "schema too large": "it grows too large",
    "grammar size": "it grows too large",
    "too many expressions": "matching it is too complex",
    "fuel": "matching it is too complex",
    "Current row": "matching it is too complex",
    "TooComplex": "matching it is too complex",
    "not present in a registry": "it refers to another document, and none is ever fetched",
    "Unsatisfiable": "nothing could ever match it",
    "NoExtension": "nothing could ever match it",
    "rollback": "'max_tokens' and 'stop' within a grammar are not supported",
    "special token": "it names a special token that this model lacks",
    "unknown name": "a rule that it names is missing",
}


class BadGrammar(Llama4CoderError):
    """No output can be held to it; says why in words of its own."""

    @classmethod
    def of(cls, problem: str) -> "BadGrammar":
        """From what llguidance says, which quotes the grammar."""
        message = problem.partition("\n   1 | ")[0]  # behind it there is nothing else
        reason = next((reason for sign, reason in _REASONS.items() if sign in message), "it cannot be compiled")
        words = set(re.findall(r"[$A-Za-z-]+", message))
        known = [repr(word) for word in _KEYWORDS if word in words] + ["'not'"] * (_NOT in message)
        return cls(f"{reason} ({', '.join(known)})" if known else reason)
