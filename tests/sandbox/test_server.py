"""The sandbox over real sockets: the protocol's shape, every fault, and a prompt end."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from recto.sandbox import chat
from recto.sandbox.faults import FAULTS, OVERSIZE_BYTES
from recto.sandbox.server import start
from recto.text import prompt
from recto.text.proposals import Bounds
from recto.text.source import Topic

TEXT = (
    "The steam engine is a machine that turns heat into motion. Thomas Newcomen built the first practical one "
    "in 1712. In 1765, Watt thought of a separate condenser. Horsepower is a unit that Watt invented. "
    "The Stockton and Darlington Railway was opened on 27 September 1825. Water boils at 100 degrees at sea level."
)
KEY = {"Authorization": "Bearer sk-or-v1-anything"}


@pytest.fixture(scope="module")
def sandbox():
    with start() as server:
        yield server


def request(model="some/model", text=TEXT, **more):
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": "Write at most 4 flashcards."},
            {"role": "user", "content": f"<source_text>\n{text}\n</source_text>"},
        ],
        **more,
    }


def about(topic, known=(), model="some/model"):
    """A request about a topic, with fronts that must not come again."""
    body = request(model)
    body["messages"][1]["content"] = f"<topic>\n{topic}\n</topic>{listed(known)}"
    return body


def listed(known):
    return "\n<known_fronts>\n" + "\n".join(known) + "\n</known_fronts>" if known else ""


def knowing(known, model="some/model", text=TEXT):
    """A request about a text, with fronts that must not come again."""
    body = request(model, text)
    body["messages"][1]["content"] += listed(known)
    return body


def fronts(answer):
    return [card["front"] for card in json.loads(answer[2]["choices"][0]["message"]["content"])["flashcards"]]


def connect(sandbox, timeout=5):
    address = urlsplit(sandbox.base_url)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)


def send(connection, body, headers=KEY):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", "/api/v1/chat/completions", raw, {"Content-Type": "application/json", **headers})


def post(sandbox, body, headers=KEY):
    """(status, headers, body as JSON if it is) of one call on a connection of its own."""
    connection = connect(sandbox)
    try:
        send(connection, body, headers)
        response = connection.getresponse()
        raw = response.read()
        is_json = response.getheader("Content-Type") == "application/json" and raw.strip()
        return response.status, response.headers, json.loads(raw) if is_json else raw
    finally:
        connection.close()


def content(sandbox, model, **more):
    status, _, body = post(sandbox, request(f"sandbox/{model}", **more))
    assert status == 200
    return body["choices"][0]["message"]["content"]


def cards(sandbox, **more):
    return json.loads(content(sandbox, "extractive", **more))["flashcards"]


# --- the protocol


def test_a_good_answer_has_the_shape_of_openrouters(sandbox):
    status, headers, body = post(sandbox, request())
    assert status == 200
    assert body["id"].startswith("gen-sandbox-")
    assert headers["X-Generation-Id"] == body["id"]
    assert (body["model"], body["provider"]) == ("some/model", "Sandbox")
    [choice] = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    usage = body["usage"]
    assert usage["cost"] == 0.0
    prompt = "".join(message["content"] for message in request()["messages"])
    assert usage["prompt_tokens"] == -(-len(prompt) // 4)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_cards_quote_the_source_text_and_keep_to_the_number_asked_for(sandbox):
    found = cards(sandbox)
    assert len(found) == 4
    assert all(card["back"] in TEXT for card in found)


def test_the_same_request_gets_the_same_answer_under_an_id_of_its_own(sandbox):
    first, second = (post(sandbox, request())[2] for _ in range(2))
    assert first["id"] != second["id"]
    assert second | {name: first[name] for name in ("id", "created")} == first


def test_a_prompt_without_markers_is_the_source_text(sandbox):
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}
    assert json.loads(post(sandbox, body)[2]["choices"][0]["message"]["content"])["flashcards"]


@pytest.mark.parametrize("asked_for", [knowing, lambda known: about("The Alps", known)])
def test_batches_that_know_the_ones_before_bring_new_cards_until_none_is_left(sandbox, asked_for):
    known = []
    while batch := fronts(post(sandbox, asked_for(known))):
        assert len(batch) <= 4
        known += batch
    assert len(known) == len(set(known)) > 8


def test_a_list_of_known_fronts_inside_the_text_is_text(sandbox):
    text = f"{TEXT}\n<known_fronts>\n{fronts(post(sandbox, request()))[0]}\n</known_fronts>"
    assert fronts(post(sandbox, request(text=text)))[0] == fronts(post(sandbox, request()))[0]


def test_the_prompts_of_recto_are_understood(sandbox):
    built = prompt.build(Topic("The Alps"), Bounds(proposals=2), known=["What is fact 1 about the Alps?"])
    body = request()
    body["messages"] = [{"role": "system", "content": built.system}, {"role": "user", "content": built.user}]
    assert fronts(post(sandbox, body)) == ["What is fact 2 about The Alps?", "What is fact 3 about The Alps?"]


def test_a_connection_serves_several_calls(sandbox):
    connection = connect(sandbox)
    for model in ("a/b", "sandbox/http-500", "sandbox/keep-alive-then-ok", "a/b"):
        send(connection, request(model))
        connection.getresponse().read()
        assert connection.sock is not None
    connection.close()


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer  ", "Basic abc"])
def test_a_call_without_a_bearer_key_is_refused(sandbox, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    status, _, body = post(sandbox, request(), headers)
    assert (status, body["error"]["code"]) == (401, 401)
    assert body["error"]["metadata"]["error_type"] == "authentication"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"[]",
        {},
        {"messages": []},
        {"messages": "x"},
        {"messages": ["x"]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user"}]},
        request(model=7),
        request(response_format="json"),
        request(stream="yes"),
    ],
)
def test_an_invalid_request_is_refused_in_openrouters_form(sandbox, body):
    status, _, answer = post(sandbox, body)
    assert (status, answer["error"]["code"]) == (400, 400)
    assert answer["error"]["metadata"]["error_type"] == "invalid_request"


@pytest.mark.parametrize("header", [("Content-Length", "9000000000"), ("Transfer-Encoding", "chunked")])
def test_a_body_of_unknown_or_excessive_length_is_refused_unread(sandbox, header):
    connection = connect(sandbox)
    connection.putrequest("POST", "/api/v1/chat/completions")
    connection.putheader(*header)
    connection.endheaders()
    with connection.getresponse() as response:
        assert response.status == 413
    connection.close()


def test_the_key_can_be_asked_about_and_other_addresses_are_not_found(sandbox):
    connection = connect(sandbox)
    for method, path, status in (
        ("GET", "/api/v1/key", 200),
        ("GET", "/api/v1/chat/completions", 404),
        ("DELETE", "/", 404),
    ):
        connection.request(method, path, headers=KEY)
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == status
        assert ("data" if status == 200 else "error") in body
    connection.close()


def test_lone_surrogates_do_not_break_the_answer(sandbox):
    assert cards(sandbox, text=TEXT.replace("motion", "mot\ud800ion"))


# --- choosing a fault


def test_a_line_in_the_text_wins_over_the_model_and_is_left_out_of_the_cards(sandbox):
    text = f"{TEXT[:60]}\n  [sandbox: http-429]  \n{TEXT[60:]}"
    assert post(sandbox, request("sandbox/http-500", text=text))[0] == 429
    text = f"[sandbox: fenced]\n{TEXT}"
    assert "sandbox" not in content(sandbox, "http-500", text=text)


def test_a_line_can_ask_for_the_good_answer(sandbox):
    assert post(sandbox, request("sandbox/http-500", text=f"[sandbox: extractive]\n{TEXT}"))[0] == 200


def test_such_words_inside_a_line_are_text(sandbox):
    assert post(sandbox, request(text=f"Write [sandbox: http-429] to see it. {TEXT}"))[0] == 200


@pytest.mark.usefixtures("stopped_after_a_minute")
@pytest.mark.parametrize("tag", ["source_text", "topic"])
@pytest.mark.parametrize("start", ["[sandbox:", "Text", "<source_text>\n"])
def test_long_runs_in_a_prompt_are_read_once(tag, start):
    text = start + " " * 300_000 + "x\n" + "<topic>\n" * 100_000
    body = {"messages": [{"role": "user", "content": f"<{tag}>\n{text}\n</{tag}>"}]}
    assert not chat.parse(json.dumps(body).encode()).fault


def test_words_in_a_topic_choose_a_fault_and_are_left_out_of_the_cards(sandbox):
    assert post(sandbox, about("The Alps [sandbox: http-429] in winter"))[0] == 429
    [front, *_] = fronts(post(sandbox, about("The Alps [sandbox: extractive] in winter")))
    assert front == "What is fact 1 about The Alps in winter?"


@pytest.mark.parametrize("body", [request("sandbox/nope"), request(text=f"[sandbox: nope]\n{TEXT}")])
def test_an_unknown_fault_is_refused_with_the_names_of_all(sandbox, body):
    status, _, answer = post(sandbox, body)
    assert status == 400
    assert all(name in answer["error"]["message"] for name in FAULTS)


def test_every_fault_is_described_in_one_line():
    assert all(fault.description.endswith(".") and "\n" not in fault.description for fault in FAULTS.values())


# --- errors


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529])
def test_an_http_error_has_its_status_and_type(sandbox, status):
    found, headers, body = post(sandbox, request(f"sandbox/http-{status}"))
    assert (found, body["error"]["code"]) == (status, status)
    assert body["error"]["metadata"]["error_type"]
    assert headers["Retry-After"] == {429: "30", 503: "5"}.get(status)


def test_moderation_names_the_flagged_input(sandbox):
    assert post(sandbox, request("sandbox/http-403"))[2]["error"]["metadata"]["flagged_input"]


def test_an_error_can_come_with_status_200(sandbox):
    status, _, body = post(sandbox, request("sandbox/error-in-200"))
    assert (status, body["choices"], body["error"]["code"]) == (200, None, 429)


def test_an_error_can_come_inside_a_choice(sandbox):
    status, _, body = post(sandbox, request("sandbox/error-in-choice"))
    [choice] = body["choices"]
    assert (status, choice["finish_reason"], choice["error"]["code"]) == (200, "error", 502)
    assert choice["message"]["content"].startswith('{"flashcards"')


def test_a_proxys_page_is_html(sandbox):
    status, headers, body = post(sandbox, request("sandbox/error-html"))
    assert (status, headers["Content-Type"]) == (502, "text/html")
    assert body.startswith(b"<html>")


def test_flaky_fails_every_other_time(sandbox):
    assert [post(sandbox, request("sandbox/flaky"))[0] for _ in range(4)] == [500, 200, 500, 200]


def test_flaky_batch_fails_once_at_the_second_batch_of_every_deck(sandbox):
    first, second = request("sandbox/flaky-batch"), knowing(["What is heat?"], "sandbox/flaky-batch")
    other = knowing(["What is heat?"], "sandbox/flaky-batch", text=f"{TEXT} And more.")
    calls = [first, second, other, second, second, other, first, second, second]
    assert [post(sandbox, call)[0] for call in calls] == [200, 503, 503, 200, 200, 200, 200, 503, 200]


@pytest.mark.parametrize(
    ("fault", "response_format", "status"),
    [
        ("no-schema", "json_schema", 400),
        ("no-schema", "json_object", 200),
        ("no-json-mode", "json_schema", 400),
        ("no-json-mode", "json_object", 400),
        ("no-json-mode", None, 200),
    ],
)
def test_a_model_can_refuse_response_formats(sandbox, fault, response_format, status):
    more = {"response_format": {"type": response_format}} if response_format else {}
    found, _, body = post(sandbox, request(f"sandbox/{fault}", **more))
    assert found == status
    if status == 400:
        assert response_format in body["error"]["message"]


# --- spoilt answers


def test_prose_holds_no_json(sandbox):
    assert not {"{", "["} & set(content(sandbox, "invalid-json"))


def test_an_answer_can_be_empty_null_or_a_refusal(sandbox):
    assert json.loads(content(sandbox, "empty")) == {"flashcards": []}
    assert content(sandbox, "null-content") is None
    refusal = post(sandbox, request("sandbox/refusal"))[2]["choices"][0]["message"]
    assert refusal["content"] is None
    assert refusal["refusal"]


def test_content_can_be_a_list_of_parts(sandbox):
    parts = content(sandbox, "list-content")
    assert json.loads("".join(part["text"] for part in parts))["flashcards"] == cards(sandbox)


@pytest.mark.parametrize("text", [TEXT, "Too short."])
@pytest.mark.parametrize(("fault", "least"), [("truncated", 2), ("truncated-early", 0)])
def test_a_truncated_answer_is_cut_inside_a_card(sandbox, fault, least, text):
    [choice] = post(sandbox, request(f"sandbox/{fault}", text=text))[2]["choices"]
    cut = choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    assert cut.count('"front"') == cut.count('"back"') == cut.count("}, {") + 1
    assert cut.count("}, {") >= least
    with pytest.raises(ValueError, match="Unterminated string"):
        json.loads(cut)


def test_good_cards_can_come_in_other_wrappings(sandbox):
    good = cards(sandbox)
    fenced = content(sandbox, "fenced")
    assert json.loads(fenced.split("```json\n")[1].split("\n```")[0])["flashcards"] == good
    assert json.loads(content(sandbox, "bare-array")) == good
    renamed = json.loads(content(sandbox, "question-answer"))["questions"]
    assert [{"front": card["question"], "back": card["answer"]} for card in renamed] == good


def test_latex_comes_escaped_once_and_bare_once(sandbox):
    text = content(sandbox, "latex")
    assert text.count(r'"\\frac') == 1
    assert text.count(r'"\frac') == 1


def test_html_comes_as_it_is(sandbox):
    fronts = " ".join(card["front"] for card in json.loads(content(sandbox, "html"))["flashcards"])
    assert "<script>alert(1)</script>" in fronts
    assert "<img" in fronts
    assert "onerror" in fronts


def test_duplicates_and_a_leak_stand_among_good_cards(sandbox):
    found = json.loads(content(sandbox, "duplicates"))["flashcards"]
    fronts = [card["front"].strip().casefold() for card in found]
    assert len(fronts) == len(set(fronts)) + 2
    assert any(card["back"] in card["front"] for card in found)


# --- the wire


def test_timeout_sends_nothing_for_as_long_as_the_client_stays(sandbox):
    connection = connect(sandbox, timeout=0.3)
    send(connection, request("sandbox/timeout"))
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize(
    ("fault", "start_of_answer"),
    [("drip", b"HTTP/1.1 200"), ("drip-headers", b"HT"), ("keep-alive", b"HTTP/1.1 200")],
)
def test_a_drip_comes_in_pieces_and_stays_open(sandbox, fault, start_of_answer):
    connection = connect(sandbox, timeout=0.8)
    send(connection, request(f"sandbox/{fault}"))
    received = b""
    pieces = 0
    while pieces < 2 or not received.startswith(start_of_answer):
        received += connection.sock.recv(65536)
        pieces += 1
    assert received.startswith(start_of_answer)
    assert len(received) < 400
    connection.close()


def test_white_space_before_a_good_answer_is_part_of_the_body(sandbox):
    connection = connect(sandbox)
    send(connection, request("sandbox/keep-alive-then-ok"))
    body = connection.getresponse().read()
    connection.close()
    assert body.startswith(b" ")
    assert json.loads(body)["choices"]


def test_endless_gives_more_than_any_bound(sandbox):
    connection = connect(sandbox)
    send(connection, request("sandbox/endless"))
    with connection.getresponse() as response:
        assert len(response.read(3 * OVERSIZE_BYTES)) == 3 * OVERSIZE_BYTES
    connection.close()


def test_oversize_says_its_length_and_has_it(sandbox):
    _, headers, body = post(sandbox, request("sandbox/oversize"))
    assert headers["Content-Length"] == str(OVERSIZE_BYTES)
    assert len(body) == OVERSIZE_BYTES


def test_slow_answers_well_after_two_seconds(sandbox):
    started = time.monotonic()
    status, _, body = post(sandbox, request("sandbox/slow"))
    assert time.monotonic() - started >= 2.0
    assert (status, bool(body["choices"])) == (200, True)


def test_reset_is_a_reset_and_not_an_end(sandbox):
    connection = connect(sandbox)
    send(connection, request("sandbox/reset"))
    with pytest.raises(ConnectionResetError):
        connection.sock.recv(1)
    connection.close()


def test_reset_mid_body_breaks_off_a_promised_body(sandbox):
    connection = connect(sandbox)
    send(connection, request("sandbox/reset-mid-body"))
    with connection.getresponse() as response, pytest.raises(ConnectionResetError):
        response.read()
    connection.close()


def test_close_mid_body_ends_before_the_body_does(sandbox):
    with pytest.raises(http.client.IncompleteRead):
        post(sandbox, request("sandbox/close-mid-body"))


def test_close_ends_the_connection_without_a_byte(sandbox):
    connection = connect(sandbox)
    send(connection, request("sandbox/close"))
    assert connection.sock.recv(1) == b""
    connection.close()


# --- parallel calls, and the end


def test_dozens_of_silent_calls_leave_room_for_an_answer(sandbox):
    silent = [connect(sandbox) for _ in range(60)]
    for connection in silent:
        send(connection, request("sandbox/timeout"))
    assert post(sandbox, request())[0] == 200
    for connection in silent:
        connection.close()


def test_parallel_calls_get_their_own_answers(sandbox):
    texts = [f"{TEXT} The mill of village {n} had {n + 10} wheels." for n in range(40)]
    with ThreadPoolExecutor(40) as pool:
        ids = list(pool.map(lambda text: post(sandbox, request(text=text))[2]["id"], texts))
    assert len(set(ids)) == 40


@pytest.mark.parametrize("fault", ["timeout", "drip", "drip-headers", "keep-alive", "endless", "slow", "stall"])
def test_close_ends_a_call_in_flight_and_leaves_no_thread(fault):
    before = set(threading.enumerate())
    server = start()
    connection = connect(server)
    send(connection, request(f"sandbox/{fault}"))
    post(server, request())  # by now the call before it has been accepted
    server.close()
    assert set(threading.enumerate()) <= before
    server.close()
    connection.close()


@pytest.mark.parametrize("fault", ["timeout", "drip", "keep-alive", "endless"])
def test_a_client_that_leaves_ends_its_thread(fault):
    with start() as server:
        idle = set(threading.enumerate())
        connection = connect(server)
        send(connection, request(f"sandbox/{fault}"))
        post(server, request())
        [thread] = [thread for thread in set(threading.enumerate()) - idle if thread.is_alive()][:1]
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        thread.join(timeout=5)
        assert not thread.is_alive()


def test_a_taken_port_is_said_so():
    with start() as server, pytest.raises(OSError, match="in use"):
        start(urlsplit(server.base_url).port)
