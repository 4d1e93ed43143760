"""docs/export-format.md is true: its vectors, opened by the rules that it states and with nothing of the portal's own.

Only what makes the vectors' own batch (tests.unit.outbox.vectors) is the portal's.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from portal import acknowledge, batchfiles, sealing
from portal.domain import batch
from tests.unit.outbox.making import GATEWAY, OFFICE
from tests.unit.outbox.vectors import RECORDS

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "export-format.md").read_text(encoding="utf-8")
VECTORS = dict(re.findall(r"^\*\*([^*\n]+)\*\*\n\n```\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL))
SCHEMA = json.loads((DOCS / "export-format.schema.json").read_text(encoding="utf-8"))


def vector(head: str) -> str:
    (found,) = [VECTORS[head]] if head in VECTORS else [VECTORS[title] for title in VECTORS if title.startswith(head)]
    return str(found)


def lines(head: str) -> list[str]:
    return vector(head).splitlines()


def valid(told: object, part: str | None = None) -> None:
    schema = SCHEMA if part is None else {"$ref": f"#/$defs/{part}", "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(told)


HEAD = vector("Line 1").encode()
HEADER = json.loads(HEAD)
SEALED = bytes.fromhex(vector("What is sealed"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_keys_are_those_of_the_seeds() -> None:
    sealing_key, signing_key = map(bytes.fromhex, lines("The office's public keys"))
    assert X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw() == sealing_key
    signer = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
    assert signer.public_key().public_bytes_raw() == signing_key
    line, fingerprint = lines("Its line")
    text = line.removeprefix("gerbang-office-1-").replace("-", "")
    check = hashlib.sha256(b"gerbang-office-1" + sealing_key + signing_key).digest()[:6]
    assert base64.b32decode(text.upper()) == sealing_key + signing_key + check
    assert hashlib.sha256(sealing_key + signing_key).hexdigest()[:20] == fingerprint.replace("-", "")
    assert HEADER["office"] == fingerprint
    public, fingerprint = lines("The gateway's public key")
    assert hashlib.sha256(bytes.fromhex(public)).hexdigest()[:20] == fingerprint.replace("-", "")
    assert HEADER["gateway"] == public == GATEWAY.public.hex()


def test_the_private_file_opens_as_the_page_says() -> None:
    told = json.loads(vector("Its private file"))
    costs, box = told["argon2id"], told["chacha20poly1305"]
    secret = hash_secret_raw(
        b"lima kata yang panjang",
        bytes.fromhex(costs["salt"]),
        costs["passes"],
        costs["memory_kib"],
        costs["lanes"],
        32,
        Type.ID,
    )
    opened = ChaCha20Poly1305(secret).decrypt(
        bytes.fromhex(box["nonce"]), bytes.fromhex(box["sealed"]), told["public"].encode()
    )
    assert opened == bytes(range(64))
    unlocked = sealing.unlock(vector("Its private file").encode(), "lima kata yang panjang")
    assert unlocked.key == OFFICE.key


def test_the_signatures_are_over_what_the_page_says() -> None:
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(HEADER["gateway"]))
    key.verify(bytes.fromhex(vector("Line 2")), b"gerbang-batch/1\0" + HEAD)
    key.verify(bytes.fromhex(vector("Line 2, had")), b"gerbang-dropped/1\0" + HEAD)


def test_what_is_sealed_opens_as_the_page_says() -> None:
    assert len(SEALED) == HEADER["sealed"]["bytes"]
    assert hashlib.sha256(SEALED).hexdigest() == HEADER["sealed"]["sha256"]
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    info = " ".join(["gerbang-batch/1", HEADER["site"], HEADER["gateway"], HEADER["epoch"], str(HEADER["number"])])
    opened = suite.decrypt(SEALED, X25519PrivateKey.from_private_bytes(bytes(range(32))), info.encode())
    records = [json.loads(line) for line in gzip.decompress(opened).decode().splitlines()]
    assert [json.loads(line) for line in lines("Its records")] == records == RECORDS
    assert HEADER["counts"] == {"sample": len(records)}


def test_the_schema_fits_the_vectors() -> None:
    valid(HEADER, "header")
    for line in lines("Its records"):
        valid(json.loads(line))
    valid(json.loads(lines("An acknowledgement")[0]), "ack")


def test_the_file_of_the_vector_is_good(tmp_path: Path) -> None:
    content = HEAD + b"\n" + vector("Line 2").encode() + b"\n" + SEALED
    (tmp_path / "64.03.01.2001-1b9d6bcd-000001.gbatch").write_bytes(content)
    report = batchfiles.check(tmp_path, [GATEWAY.fingerprint], OFFICE)
    assert report.good
    assert not report.findings
    assert batchfiles.open_batch(report.chains[0].batches[0], OFFICE) == RECORDS


def test_the_acknowledgement_is_the_office_s() -> None:
    ack = acknowledge.parse(vector("An acknowledgement").encode() + b"\n", OFFICE.key)
    assert ack.received[0].sha256 == hashlib.sha256(HEAD).hexdigest()
    text, signature = lines("An acknowledgement")
    key = Ed25519PublicKey.from_public_bytes(OFFICE.key.signing)
    key.verify(bytes.fromhex(signature), b"gerbang-ack/1\0" + text.encode())


def test_the_journal_s_chain_is_as_the_page_says() -> None:
    before = bytes(32)
    first, first_hash, second, second_hash = lines("Two entries")
    for entry, expected in ((first, first_hash), (second, second_hash)):
        told = json.loads(entry)
        assert isinstance(told[6], str)
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        before = hashlib.sha256(before + text.encode()).digest()
        assert before.hex() == expected


def test_line_1_is_canonical() -> None:
    assert batch.canonical(HEADER) == HEAD


@pytest.mark.parametrize("name", ["session", "day", "hour", "stretch", "sample", "act", "erasure", "dropped", "lost"])
def test_every_kind_of_record_is_explained_and_refused_where_it_is_wrong(name: str) -> None:
    assert f"**`{name}`**" in TEXT
    told: dict[str, Any] = {"kind": name, "id": "x"}
    with pytest.raises(jsonschema.ValidationError):
        valid(told)


def test_every_key_of_the_header_is_explained() -> None:
    table = TEXT.partition("## The header")[2].partition("##")[0]
    explained = set(
        re.findall(r"`([a-z_]+)`", "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    )
    assert explained == set(HEADER)
