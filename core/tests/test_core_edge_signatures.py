"""A device verifies Ed25519 by itself: as the standard says, and as a library does."""

from __future__ import annotations

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core.edge.device import sync


def test_signatures_are_verified_as_a_library_verifies_them() -> None:
    chance = random.Random(3)
    agreed = {True: 0, False: 0}
    for turn in range(60):
        key = ed25519.Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), chance.randbytes(turn)
        signature = key.sign(message)
        for change in range(4):
            parts = [bytearray(public), bytearray(message), bytearray(signature)]
            if change and (part := parts[change - 1]):
                part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
            k, m, s = map(bytes, parts)
            try:
                ed25519.Ed25519PublicKey.from_public_bytes(k).verify(s, m)
                wanted = True
            except InvalidSignature:
                wanted = False
            assert sync.verified(k, m, s) == wanted
            agreed[wanted] += 1
    assert min(agreed.values()) >= 60


#: RFC 8032, 7.1: TEST 1 and TEST 2.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_vectors_of_the_standard(key: str, message: str, signature: str) -> None:
    public, said, signed = map(bytes.fromhex, (key, message, signature))
    assert sync.verified(public, said, signed)
    assert not sync.verified(public, said + b"x", signed)
    # The same number, written larger than it may be: another form of the same signature.
    s = int.from_bytes(signed[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    assert not sync.verified(public, said, signed[:32] + s.to_bytes(32, "little"))
    assert not sync.verified(public, said, signed[:-1]) and not sync.verified(public[:-1], said, signed)
    assert not sync.verified(b"\xff" * 32, said, signed)
