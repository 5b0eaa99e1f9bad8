"""Attacks on tokens, and the rules of Supabase's own."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from threading import Event
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from recto.errors import Unauthorized, Unavailable
from recto.providers.jwks import KeysUnavailable
from recto.tokens import KeySet, TokenVerifier, issue

from .conftest import SECRET as CLIENTS_SECRET

SECRET = "the project's legacy secret, long enough for HS256"
ISSUER = "https://project.supabase.co/auth/v1"
USER = uuid4()

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OKP_KEY = ed25519.Ed25519PrivateKey.generate()


def claims(**changes):
    now = int(time.time())
    made = {"sub": str(USER), "aud": "authenticated", "role": "authenticated", "iss": ISSUER, "iat": now}
    made |= {"exp": now + 3600} | changes
    return {name: value for name, value in made.items() if value is not None}


def public(algorithm, key, kid):
    return json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"}


KEYS = {
    "keys": [
        public(ECAlgorithm, EC_KEY, "ec") | {"alg": "ES256"},
        public(RSAAlgorithm, RSA_KEY, "rsa") | {"alg": "RS256"},
        public(OKPAlgorithm, OKP_KEY, "okp"),
    ]
}


def sign(key, algorithm, kid=None, headers=None, **changes):
    headers = {"kid": kid} | (headers or {}) if kid else headers
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


class Address:
    """A key address that can go down, and a clock that a test moves."""

    def __init__(self, keys=KEYS):
        self.keys, self.calls, self.now = keys, 0, 1000.0

    def fetch(self):
        self.calls += 1
        if self.keys is None:
            raise KeysUnavailable("down")
        return self.keys

    def key_set(self):
        return KeySet(self.fetch, clock=lambda: self.now)


@pytest.fixture
def address():
    return Address()


@pytest.fixture
def verifier(address):
    return TokenVerifier(secret=SECRET, keys=address.key_set(), issuer=ISSUER)


def test_a_token_of_the_legacy_secret_is_its_users(verifier):
    assert verifier.verify(sign(SECRET, "HS256")).id == USER


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(EC_KEY, "ES256", "ec"), (RSA_KEY, "RS256", "rsa")])
def test_an_asymmetric_token_is_its_users(verifier, key, algorithm, kid):
    assert verifier.verify(sign(key, algorithm, kid)).id == USER


def test_an_eddsa_token_is_its_users(verifier):
    assert verifier.verify(sign(OKP_KEY, "EdDSA", "okp")).id == USER


def test_a_list_of_audiences_may_hold_ours(verifier):
    assert verifier.verify(sign(SECRET, "HS256", aud=["other", "authenticated"])).id == USER


def test_our_own_development_tokens_are_valid(verifier):
    assert verifier.verify(issue(SECRET, USER, issuer=ISSUER)).id == USER


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": "soon"},
        {"aud": None},
        {"aud": "anon"},
        {"iss": None},
        {"iss": ISSUER + "/"},
        {"iss": "https://evil.supabase.co/auth/v1"},
        {"role": None},
        {"role": "anon"},
        {"role": "service_role"},
        {"role": ["authenticated"]},
        {"sub": None},
        {"sub": "somebody"},
        {"sub": ""},
        {"sub": 7},
        {"is_anonymous": True},
        {"nbf": 2**40},
    ],
    ids=str,
)
def test_unfit_claims_are_refused(verifier, changes):
    with pytest.raises(Unauthorized):
        verifier.verify(sign(SECRET, "HS256", **changes))


def test_the_legacy_anon_and_service_keys_are_no_users():
    verifier = TokenVerifier(secret=SECRET, keys=None, issuer=None)
    for role in ("anon", "service_role"):
        key = jwt.encode({"iss": "supabase", "ref": "abc", "role": role, "exp": 2**31}, SECRET, algorithm="HS256")
        with pytest.raises(Unauthorized):
            verifier.verify(key)


def test_anonymous_users_are_users_if_that_is_allowed():
    verifier = TokenVerifier(secret=SECRET, keys=None, issuer=ISSUER, allow_anonymous=True)
    assert verifier.verify(sign(SECRET, "HS256", is_anonymous=True)).id == USER


@pytest.mark.parametrize(("setting", "status"), [({}, 401), (False, 401), (True, 200)], ids=["unset", "off", "on"])
def test_the_operator_decides_whether_anonymous_users_are_users(open_client, setting, status):
    client = open_client(**({} if setting == {} else {"allow_anonymous_users": setting}))
    token = jwt.encode(claims(sub=str(client.user_id), is_anonymous=True), CLIENTS_SECRET, algorithm="HS256")
    assert client.get("/generations", headers={"Authorization": f"Bearer {token}"}).status_code == status


@pytest.mark.parametrize(("age_s", "valid"), [(25, True), (35, False)])
def test_thirty_seconds_of_leeway_are_given(verifier, age_s, valid):
    token = sign(SECRET, "HS256", exp=int(time.time()) - age_s)
    if valid:
        assert verifier.verify(token).id == USER
    else:
        with pytest.raises(Unauthorized, match="expired"):
            verifier.verify(token)


def test_alg_none_is_refused(verifier):
    for algorithm in ("none", "None", "NONE"):
        header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()).rstrip(b"=").decode()
        body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=").decode()
        for token in (f"{header}.{body}.", f"{header}.{body}"):
            with pytest.raises(Unauthorized):
                verifier.verify(token)


def _hmac_with(key: bytes, kid: str) -> str:
    """PyJWT refuses to sign with a public key, so the forger does it by hand."""
    import hashlib
    import hmac

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "typ": "JWT", "kid": kid}) + b"." + part(claims())
    signature = base64.urlsafe_b64encode(hmac.digest(key, signed, hashlib.sha256)).rstrip(b"=")
    return (signed + b"." + signature).decode()


@pytest.mark.parametrize(("key", "kid"), [(EC_KEY, "ec"), (RSA_KEY, "rsa")])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_public_key_is_never_used_as_a_secret(address, key, kid, secret):
    verifier = TokenVerifier(secret=secret, keys=address.key_set(), issuer=ISSUER)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(Unauthorized):
        verifier.verify(_hmac_with(pem, kid))


def test_a_key_signs_with_its_own_algorithm_only(verifier):
    for key, algorithm, kid in ((RSA_KEY, "RS512", "rsa"), (RSA_KEY, "PS256", "rsa"), (EC_KEY, "ES256", "rsa")):
        with pytest.raises(Unauthorized):
            verifier.verify(sign(key, algorithm, kid))


def test_what_a_header_says_about_its_algorithm_is_compared(verifier):
    def encoded(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    body = encoded(json.dumps(claims()).encode())
    for named, accepted in (("ES256", True), ("RS256", False), ("EdDSA", False), ("ES384", False), ("none", False)):
        signed = encoded(json.dumps({"alg": named, "kid": "ec"}).encode()) + b"." + body
        token = b".".join([signed, encoded(jwt.get_algorithm_by_name("ES256").sign(signed, EC_KEY))]).decode()
        if accepted:
            assert verifier.verify(token).id == USER
        else:
            with pytest.raises(Unauthorized):
                verifier.verify(token)


def test_a_forged_signature_is_refused(verifier):
    header, body, _ = sign(SECRET, "HS256").split(".")
    for signature in ("", "AAAA", sign("another secret that is long enough for it", "HS256").split(".")[2]):
        with pytest.raises(Unauthorized):
            verifier.verify(f"{header}.{body}.{signature}")


def test_keys_that_a_token_brings_along_are_not_read(verifier, address):
    forger = ec.generate_private_key(ec.SECP256R1())
    jwk = public(ECAlgorithm, forger, "forged")
    for headers in ({"jwk": jwk}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/cert"}):
        for kid in ("ec", "forged", "../../etc/passwd", "' or 1=1 --"):
            with pytest.raises(Unauthorized):
                verifier.verify(sign(forger, "ES256", kid, headers=headers))
    assert address.calls == 1


@pytest.mark.parametrize("kid", [None, 7, ["ec"], {}])
def test_a_key_id_that_is_no_text_is_refused_without_a_fetch(verifier, address, kid):
    token = sign(EC_KEY, "ES256")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": kid}).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthorized):
        verifier.verify(header + "." + token.split(".", 1)[1])
    assert not address.calls


DEEP = base64.urlsafe_b64encode(b"[" * 5000).decode()


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "🎈.🎈.🎈", "e30.e30.", "W10.e30.", f"{DEEP}.e30.", "x" * 100_000, "{}", "sb_secret_abc"],
)
def test_what_is_no_token_is_refused(verifier, token):
    with pytest.raises(Unauthorized):
        verifier.verify(token)


def test_symmetric_keys_in_the_key_set_are_not_used():
    oct_key = {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "alg": "HS256"}
    verifier = TokenVerifier(secret=None, keys=Address({"keys": [oct_key]}).key_set(), issuer=ISSUER)
    with pytest.raises(Unauthorized, match="unknown key"):
        verifier.verify(sign(SECRET, "HS256", "oct"))


def test_without_a_key_set_there_is_the_secret_alone():
    verifier = TokenVerifier(secret=SECRET, keys=None, issuer=ISSUER)
    assert verifier.verify(sign(SECRET, "HS256")).id == USER
    with pytest.raises(Unauthorized, match="unknown key"):
        verifier.verify(sign(EC_KEY, "ES256", "ec"))


ODD = [None, 7, True, "", "ü", "x" * 10_000, [], ["P-256"], {}, {"a": 1}, "\ud800"]


@pytest.mark.parametrize("member", ["kid", "kty", "crv", "use", "alg", "x", "y", "n", "e", "key_ops"])
def test_a_key_with_anything_in_a_member_harms_no_other(member):
    noise = [key | {"kid": f"odd-{key['kid']}", member: odd} for key in KEYS["keys"] for odd in ODD]
    verifier = TokenVerifier(secret=None, keys=Address({"keys": noise + KEYS["keys"]}).key_set(), issuer=ISSUER)
    assert verifier.verify(sign(EC_KEY, "ES256", "ec")).id == USER
    assert verifier.verify(sign(RSA_KEY, "RS256", "rsa")).id == USER


def test_what_is_no_key_harms_no_key():
    noise = [None, 7, "key", [], {}, {"kid": "a"}, {"kid": "b", "kty": "EC", "crv": "P-256"}]
    verifier = TokenVerifier(secret=None, keys=Address({"keys": noise + KEYS["keys"]}).key_set(), issuer=ISSUER)
    assert verifier.verify(sign(EC_KEY, "ES256", "ec")).id == USER


@pytest.mark.parametrize(
    ("key", "algorithm", "kid", "changes"),
    [
        (EC_KEY, "ES256", "ec", {"use": "enc"}),
        (RSA_KEY, "RS256", "rsa", {"use": "enc"}),
        (EC_KEY, "ES256", "ec", {"alg": "ES384"}),
        (RSA_KEY, "RS256", "rsa", {"alg": "RS512"}),
        (RSA_KEY, "RS512", "rsa", {"alg": "RS512"}),
        (RSA_KEY, "PS256", "rsa", {"alg": "PS256"}),
        (RSA_KEY, "RS256", "rsa", {"alg": None}),
        (EC_KEY, "ES256", "ec", json.loads(ECAlgorithm.to_jwk(EC_KEY))),
        (RSA_KEY, "RS256", "rsa", json.loads(RSAAlgorithm.to_jwk(RSA_KEY)) | {"key_ops": None}),
    ],
    ids=range(9),
)
def test_a_key_that_is_not_a_public_signing_key_of_a_trusted_algorithm_is_not_used(key, algorithm, kid, changes):
    keys = [published | changes if published["kid"] == kid else published for published in KEYS["keys"]]
    verifier = TokenVerifier(secret=None, keys=Address({"keys": keys}).key_set(), issuer=ISSUER)
    with pytest.raises(Unauthorized, match="unknown key"):
        verifier.verify(sign(key, algorithm, kid))


def test_a_key_need_not_say_its_use_nor_its_algorithm():
    keys = [{name: key[name] for name in key if name not in ("use", "alg")} for key in KEYS["keys"]]
    verifier = TokenVerifier(secret=None, keys=Address({"keys": keys}).key_set(), issuer=ISSUER)
    for key, algorithm, kid in ((EC_KEY, "ES256", "ec"), (RSA_KEY, "RS256", "rsa"), (OKP_KEY, "EdDSA", "okp")):
        assert verifier.verify(sign(key, algorithm, kid)).id == USER


def test_only_curves_and_key_types_that_are_trusted_are_used():
    p384 = ec.generate_private_key(ec.SECP384R1())
    secp256k1 = ec.generate_private_key(ec.SECP256K1())
    keys = [public(ECAlgorithm, p384, "p384"), public(ECAlgorithm, secp256k1, "secp256k1")]
    verifier = TokenVerifier(secret=None, keys=Address({"keys": keys}).key_set(), issuer=ISSUER)
    for key, algorithm, kid in ((p384, "ES384", "p384"), (secp256k1, "ES256K", "secp256k1")):
        with pytest.raises(Unauthorized, match="unknown key"):
            verifier.verify(sign(key, algorithm, kid))


def test_without_any_source_of_keys_there_is_no_verifier():
    with pytest.raises(ValueError, match="no source of keys"):
        TokenVerifier(secret=None, keys=None, issuer=None)


def test_the_key_set_is_fetched_once_and_again_after_ten_minutes(verifier, address):
    for _ in range(3):
        verifier.verify(sign(EC_KEY, "ES256", "ec"))
    for later_s, calls in ((600, 1), (1, 2), (599, 2), (2, 3)):
        address.now += later_s
        verifier.verify(sign(EC_KEY, "ES256", "ec"))
        assert address.calls == calls


class SlowAddress(Address):
    """One that answers when it is let."""

    def __init__(self):
        super().__init__()
        self.asked, self.let = Event(), Event()

    def fetch(self):
        self.asked.set()
        self.let.wait()
        return super().fetch()


def test_callers_without_any_keys_wait_for_one_fetch():
    address = SlowAddress()
    verifier = TokenVerifier(secret=None, keys=address.key_set(), issuer=ISSUER)
    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(verifier.verify, sign(EC_KEY, "ES256", "ec")) for _ in range(4)]
        assert not wait(callers, timeout=0.2).done
        address.let.set()
        assert {caller.result().id for caller in callers} == {USER}
    assert address.calls == 1


def test_while_the_keys_are_fetched_again_the_known_ones_serve():
    address = SlowAddress()
    verifier = TokenVerifier(secret=None, keys=address.key_set(), issuer=ISSUER)
    address.let.set()
    verifier.verify(sign(EC_KEY, "ES256", "ec"))
    address.asked.clear()
    address.let.clear()
    address.now += 601
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(verifier.verify, sign(EC_KEY, "ES256", "ec"))
        assert address.asked.wait(60)
        other = pool.submit(verifier.verify, sign(RSA_KEY, "RS256", "rsa"))
        served = wait([other], timeout=60).done
        address.let.set()
    assert served
    assert first.result().id == other.result().id == USER
    assert address.calls == 2


def test_a_rotated_key_is_found_by_one_refetch(verifier, address):
    verifier.verify(sign(EC_KEY, "ES256", "ec"))
    new = ec.generate_private_key(ec.SECP256R1())
    address.keys = {"keys": [public(ECAlgorithm, new, "new")]}
    address.now += 31
    assert verifier.verify(sign(new, "ES256", "new")).id == USER
    with pytest.raises(Unauthorized):  # revoked
        verifier.verify(sign(EC_KEY, "ES256", "ec"))
    assert address.calls == 2


@pytest.fixture
def decoded(monkeypatch):
    """The tokens whose signatures were verified."""
    tokens, decode = [], jwt.PyJWT.decode
    monkeypatch.setattr(
        jwt.PyJWT,
        "decode",
        lambda decoder, token, *args, **kwargs: tokens.append(token) or decode(decoder, token, *args, **kwargs),
    )
    return tokens


def test_a_token_is_verified_once(verifier, decoded):
    tokens = [sign(SECRET, "HS256"), sign(EC_KEY, "ES256", "ec", sub=str(other := uuid4()))]
    for _ in range(3):
        assert [verifier.verify(token).id for token in tokens] == [USER, other]
    assert decoded == tokens


def test_a_bad_token_is_refused_each_time(verifier, decoded):
    token = sign("another secret, long enough for HS256", "HS256")
    for _ in range(2):
        with pytest.raises(Unauthorized):
            verifier.verify(token)
    assert decoded == [token, token]


def test_a_known_token_expires(verifier, monkeypatch):
    token = sign(SECRET, "HS256")
    verifier.verify(token)
    now = time.time()
    monkeypatch.setattr("recto.tokens.time", lambda: now + 3629)
    assert verifier.verify(token).id == USER
    monkeypatch.setattr("recto.tokens.time", lambda: now + 3631)
    monkeypatch.setattr("jwt.api_jwt.datetime", Later)
    with pytest.raises(Unauthorized, match="expired"):
        verifier.verify(token)


class Later(datetime):
    """A clock that is an hour and a minute ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(minutes=61)


def test_a_known_token_is_forgotten_with_its_key(verifier, address, decoded):
    token = sign(EC_KEY, "ES256", "ec")
    verifier.verify(token)
    address.now += 601  # the same keys, fetched anew
    assert verifier.verify(token).id == USER
    assert decoded == [token, token]
    address.keys = {"keys": []}
    address.now += 601
    with pytest.raises(Unauthorized):
        verifier.verify(token)


def test_so_many_tokens_are_known_at_once_and_no_more(verifier, decoded, monkeypatch):
    monkeypatch.setattr("recto.tokens._MOST_KNOWN", 2)
    one, two, three = tokens = [sign(SECRET, "HS256", sub=str(uuid4())) for _ in range(3)]
    for token in (*tokens, three, two, one):
        verifier.verify(token)
    assert decoded == [one, two, three, one]


def test_made_up_key_ids_do_not_make_us_ask_all_the_time(verifier, address):
    for number in range(50):
        with pytest.raises(Unauthorized):
            verifier.verify(sign(EC_KEY, "ES256", f"made-up-{number}"))
    assert address.calls == 1
    for later_s, calls in ((29, 1), (1, 2), (29, 2)):
        address.now += later_s
        with pytest.raises(Unauthorized):
            verifier.verify(sign(EC_KEY, "ES256", "made-up"))
        assert address.calls == calls


def test_known_keys_serve_on_while_their_address_is_down(verifier, address):
    verifier.verify(sign(EC_KEY, "ES256", "ec"))
    address.keys = None
    address.now += 3600
    assert verifier.verify(sign(EC_KEY, "ES256", "ec")).id == USER
    assert address.calls == 2
    with pytest.raises(Unauthorized):
        verifier.verify(sign(EC_KEY, "ES256", "unknown"))


def test_with_no_keys_at_all_the_service_says_that_it_is_its_own_fault(address):
    address.keys = None
    verifier = TokenVerifier(secret=None, keys=address.key_set(), issuer=ISSUER)
    for _ in range(2):
        with pytest.raises(Unavailable):
            verifier.verify(sign(EC_KEY, "ES256", "ec"))
    assert address.calls == 1
    address.keys = KEYS
    address.now += 31
    assert verifier.verify(sign(EC_KEY, "ES256", "ec")).id == USER
