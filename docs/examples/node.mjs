// A click, the list that knows it, and the stream of lists, in Node 18 or later, without a package:
//   node node.mjs USER ITEM
const url = process.env.NEXTCLICK_URL ?? "http://127.0.0.1:8080";
const [user, item] = process.argv.slice(2);
const path = `${url}/v1/users/${encodeURIComponent(user)}/recommendations`;

async function json(answer) {
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return answer.json();
}

const clicked = await json(await fetch(`${url}/v1/clicks`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ event_id: crypto.randomUUID(), user_id: user, item_id: item, event: "click" }),
}));
const list = await json(await fetch(`${path}?seen=${clicked.seen}&k=5&timeout_ms=10000`));
console.log(JSON.stringify(list));

// Server-sent events: lines that end in \n, an empty line after each event.
const stream = await fetch(`${path}/stream?k=5`, { headers: { Accept: "text/event-stream" } });
let text = "";
read: for await (const part of stream.body.pipeThrough(new TextDecoderStream())) {
  text += part;
  const events = text.split("\n\n");
  text = events.pop();
  for (const event of events) {
    const data = event.split("\n").find((line) => line.startsWith("data: "));
    if (data) {
      console.log(JSON.stringify(JSON.parse(data.slice(6))));
      break read; // it goes on for as long as one reads
    }
  }
}
