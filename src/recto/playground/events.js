// Server-sent events out of a response's body: EventSource cannot send the token.

/** Response → {name, id, data} of each event as it comes, `data` as text. Comments are left out. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (let read; !(read = await reader.read()).done; ) {
      const blocks = (rest + read.value).split("\n\n");
      rest = blocks.pop(); // not whole yet
      yield* blocks.map(eventOf).filter((event) => event.data);
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have been broken off already
  }
}

function eventOf(block) {
  const fields = block.split("\n").map((line) => line.match(/^([^:]+): ?(.*)$/) ?? []);
  const { event: name, id, data } = Object.fromEntries(fields.map(([, field, value]) => [field, value]));
  return { name, id, data };
}
