"""A CustomResourceDefinition by kubectl, from creation to deletion: names, columns, explain, scale, status, rules."""

from __future__ import annotations

import base64

from octoedge.pki import x509
from octoedge.testing.kubectl import Tool

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.shop.example.com}}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {{plural: {plural}, singular: {plural}-one, kind: Order{number}, shortNames: [o{number}], categories: [shop]}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {{}}
      scale: {{specReplicasPath: .spec.count, statusReplicasPath: .status.count, labelSelectorPath: .status.selector}}
    additionalPrinterColumns:
    - {{name: Count, type: integer, jsonPath: .spec.count}}
    - {{name: Done, type: boolean, jsonPath: .status.done, priority: 1}}
    schema:
      openAPIV3Schema:
        type: object
        description: An order of a shop.
        required: [spec]
        properties:
          spec:
            type: object
            required: [count]
            x-kubernetes-validations:
            - {{rule: '!has(self.size) || self.size != "large" || self.count < 50', message: too many large ones}}
            properties:
              last: {{type: string, x-kubernetes-validations: [{{rule: self == oldSelf, message: it is fixed}}]}}
              count: {{type: integer, minimum: 1, maximum: 100, description: How many pieces.}}
              size: {{type: string, enum: [small, large], default: small}}
              code: {{type: string, pattern: '^[A-Z]{{3}}$'}}
              lines:
                type: array
                maxItems: 3
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {{name: {{type: string}}, amount: {{type: integer}}}}
          status:
            type: object
            properties: {{done: {{type: boolean}}, count: {{type: integer}}, selector: {{type: string}}}}
"""


def test_a_definition_lives_its_life(kubectl: Tool) -> None:
    number = kubectl.namespace.rpartition("-")[2]
    plural = f"orders{number}"
    kubectl.file("crd.yaml", CRD.format(plural=plural, number=number))
    text = f"apiVersion: shop.example.com/v1\nkind: Order{number}\nmetadata: {{name: a}}\nspec: {{count: 3}}\n"
    assert "created" in kubectl("apply -f crd.yaml")
    assert "condition met" in kubectl(f"wait crd {plural}.shop.example.com --for=condition=Established --timeout=10s")
    assert "unchanged" in kubectl("apply -f crd.yaml")
    assert "created" in kubectl("apply -f -", stdin=text)
    assert "unchanged" in kubectl("apply -f -", stdin=text)
    assert kubectl(f"get o{number}").split() == ["NAME", "COUNT", "a", "3"]
    assert kubectl(f"get {plural} -o wide").split()[:3] == ["NAME", "COUNT", "DONE"]
    assert "a " in kubectl("get shop")
    assert kubectl(f"get {plural}-one a -o jsonpath={{.spec.size}}") == "small"
    assert "An order of a shop." in kubectl(f"explain {plural}")
    assert "count\t<integer> -required-\n    How many pieces." in kubectl(f"explain {plural}.spec")
    assert "lines\t<[]Object>" in kubectl(f"explain {plural} --recursive")
    assert "scaled" in kubectl(f"scale {plural}/a --replicas=5")
    assert kubectl(f"get {plural} a -o jsonpath='{{.spec.count}} {{.metadata.generation}}'") == "5 2"
    kubectl(f'patch {plural} a --subresource=status --type=merge -p \'{{"status":{{"done":true}}}}\'')
    assert "condition met" in kubectl(f"wait {plural} a --for=jsonpath='{{.status.done}}'=true --timeout=10s")
    assert "Status:\n  Done:  true" in kubectl(f"describe {plural} a")
    assert "labeled" in kubectl(f"label {plural} a x=y")
    assert "not supported" in kubectl.refused(f"patch {plural} a --type=strategic -p '{{}}'")
    rules_are_said(kubectl, text)
    kubectl(f'patch {plural} a --type=merge -p \'{{"spec":{{"last":"x"}}}}\'')
    said = kubectl.refused(f'patch {plural} a --type=merge -p \'{{"spec":{{"last":"y"}}}}\'')
    assert 'spec.last: Invalid value: "string": it is fixed' in said
    server_side(kubectl, text, plural)
    assert "deleted" in kubectl(f"delete {plural} --all --timeout=20s")
    kubectl("apply -f -", stdin=text)
    assert "deleted" in kubectl("delete -f crd.yaml --timeout=20s")
    assert "the server could not find the requested resource" in kubectl.refused(f"get {plural}")


def rules_are_said(kubectl: Tool, text: str) -> None:
    """Each broken rule in Kubernetes' words."""
    for wrong, said in {
        "count: 300": "spec.count: Invalid value: 300: spec.count in body should be less than or equal to 100",
        "count: many": 'spec.count: Invalid value: "string": spec.count in body must be of type integer: "string"',
        "size: small": "spec.count: Required value",
        "count: 1, size: huge": 'spec.size: Unsupported value: "huge": supported values: "small", "large"',
        "count: 1, code: abc": "spec.code in body should match '^[A-Z]{3}$'",
        "count: 1, lines: [{name: q}, {name: q}]": 'Duplicate value: {"name":"q"}',
        "count: 1, lines: [{amount: 1}]": "spec.lines[0].name: Required value",
        "count: 60, size: large": 'spec: Invalid value: "object": too many large ones',
        "count: 1, bogus: 2": 'unknown field "spec.bogus"',
    }.items():
        assert said in kubectl.refused(
            "create -f -", stdin=text.replace("count: 3", wrong).replace("name: a}", "name: b}")
        ), wrong


def server_side(kubectl: Tool, text: str, plural: str) -> None:
    """Lists with keys belong to those who applied their items."""
    one = text.replace("count: 3", "count: 7, lines: [{name: x, amount: 1}]")
    two = text.replace("count: 3", "count: 7, lines: [{name: z, amount: 1}]")
    kubectl("apply --server-side --field-manager=one --force-conflicts -f -", stdin=one)
    kubectl("apply --server-side --field-manager=two -f -", stdin=two)
    assert kubectl(f"get {plural} a -o jsonpath='{{.spec.lines[*].name}}'") == "x z"
    said = kubectl.refused("apply --server-side --field-manager=two -f -", stdin=one.replace("amount: 1", "amount: 2"))
    assert 'conflict with "one": .spec.lines[name="x"].amount' in said


def test_definitions_that_are_refused(kubectl: Tool) -> None:
    good = CRD.format(plural="refused", number=0)
    for wrong, right, said in (
        ("name: refused.other", "name: refused.shop", 'must be spec.names.plural+"."+spec.group'),
        ("type: strange, minimum", "type: integer, minimum", "Unsupported value"),
        ("pattern: '(?=a)'", "pattern: '^[A-Z]{3}$'", "pattern"),
        ("storage: false", "storage: true", "must have exactly one version marked as storage version"),
        ("default: huge", "default: small", "Unsupported value"),
    ):
        words = kubectl.refused("create -f -", stdin=good.replace(right, wrong))
        assert said in words, words


CERTIFICATE = """
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: {name}}}
spec: {{request: {request}, signerName: example.com/own, usages: [client auth]}}
"""


def test_certificates_are_approved_and_denied(kubectl: Tool) -> None:
    _, der = x509.new_node_request("somebody")
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE REQUEST-----\n"
    request = base64.b64encode(pem.encode()).decode()
    for verb, kind in (("approve", "Approved"), ("deny", "Denied")):
        name = f"{kubectl.namespace}-{verb}"
        assert (
            "nobody signs the request"
            in kubectl.run("apply -f -", stdin=CERTIFICATE.format(name=name, request=request)).err
        )
        assert kubectl(f"certificate {verb} {name}").split()[-1] in ("approved", "denied")
        assert kubectl(f"get csr {name} -o jsonpath={{.status.conditions[0].type}}") == kind
        assert kubectl(f"describe csr {name}")
        kubectl(f"delete csr {name}")
