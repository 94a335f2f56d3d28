// The official packages of OpenAI and Ollama against a server of ours: `node sdks.mjs URL MODEL`; prints what they got.
import OpenAI from "openai";
import { Ollama } from "ollama";

const [url, model] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const ollama = new Ollama({ host: url });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const ask = { model, messages, temperature: 0, max_tokens: 16 };
const options = { temperature: 0, num_predict: 16 };
const got = {};

got.models = (await openai.models.list()).data.map((each) => each.id);

const chat = await openai.chat.completions.create(ask);
got.chat = chat.choices[0].message.content;
got.usage = chat.usage.completion_tokens;

got.chatStream = "";
for await (const chunk of await openai.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  got.chatStream += chunk.choices[0]?.delta?.content ?? "";
  got.streamUsage = chunk.usage?.completion_tokens ?? got.streamUsage;
}

const runner = openai.chat.completions.stream(ask);
got.chatRunner = await runner.finalContent();

got.completion = (await openai.completions.create({ model, prompt: "def add(", temperature: 0, max_tokens: 8 })).choices[0].text;
got.completionStream = "";
for await (const chunk of await openai.completions.create({ model, prompt: "def add(", temperature: 0, max_tokens: 8, stream: true })) {
  got.completionStream += chunk.choices[0]?.text ?? "";
}

try {
  await openai.chat.completions.create({ ...ask, model: "gpt-none" });
} catch (error) {
  got.notFound = [error instanceof OpenAI.NotFoundError, error.status, error.code];
}
try {
  await openai.chat.completions.create({ ...ask, temperature: 9 });
} catch (error) {
  got.badRequest = [error instanceof OpenAI.BadRequestError, error.param];
}

const controller = new AbortController();
try {
  const stream = await openai.chat.completions.create({ ...ask, max_tokens: 1000, stream: true }, { signal: controller.signal });
  for await (const _ of stream) controller.abort();
  got.aborted = true;
} catch (error) {
  got.aborted = error instanceof OpenAI.APIUserAbortError;
}

got.tags = (await ollama.list()).models.map((each) => each.model);
got.running = (await ollama.ps()).models.map((each) => each.model);
got.family = (await ollama.show({ model })).details.family;
got.ollamaChat = (await ollama.chat({ model, messages, options })).message.content;
got.ollamaStream = "";
for await (const part of await ollama.chat({ model, messages, options, stream: true })) got.ollamaStream += part.message.content;
got.ollamaGenerate = (await ollama.generate({ model, prompt: messages[0].content, options })).response;
try {
  await ollama.pull({ model: "llama3" });
} catch (error) {
  got.pull = error.status_code;
}

console.log(JSON.stringify(got));
