"""Pods that are admitted by Kubernetes' restricted profile, and whose root file system nobody writes."""

from collections.abc import Mapping
from typing import Any


def assert_can_do_little(spec: Mapping[str, Any]) -> None:
    """Of a pod: see above."""
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert all("hostPath" not in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"]
        assert context["readOnlyRootFilesystem"]
