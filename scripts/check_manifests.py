"""Checks descriptions of a fleet against the definitions of their formats. Called by scripts/manifests.

    check_manifests.py kubernetes SCHEMA    objects on standard input; those that Kubernetes does not define fit SCHEMA
    check_manifests.py compose FILE         a Compose file

Prints every mistake and ends with 1 if there was one.
"""

import json
import sys

import jsonschema
import kubernetes_validate
import yaml
from compose_spec import PyCompose


def mistakes_of_object(document, schema):
    """A core kind must fit Kubernetes' definition, with no field beside it; any other must fit the schema."""
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        validator = jsonschema.Draft202012Validator(schema)
        error = jsonschema.exceptions.best_match(validator.iter_errors(document))
        if error is not None:
            yield f"{error.json_path}: {error.message}"
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"


def check_kubernetes(schema_file):
    with open(schema_file, encoding="utf-8") as file:
        schema = yaml.safe_load(file)
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    if not documents:
        yield "no objects at all"
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        yield from (f"{name}: {mistake}" for mistake in mistakes_of_object(document, schema))


def check_compose(compose_file):
    with open(compose_file, encoding="utf-8") as file:
        # Read here, and not by the specification's own reader: that one knows no merged fields inside merged fields.
        document = yaml.safe_load(file)
    try:
        PyCompose.from_json(json.dumps(document)).validate()
    except ValueError as error:
        yield f"{compose_file}: {error}"


CHECKS = {"kubernetes": check_kubernetes, "compose": check_compose}


def main():
    what, argument = sys.argv[1:]
    mistakes = list(CHECKS[what](argument))
    for mistake in mistakes:
        print(mistake)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
