// For a page: clicks with fetch, lists as they are made with EventSource. No library.
// `key` and `userToken`: where the api asks for them, of scope public.

export class Nextclick {
  constructor(url, { key = "", userToken = "" } = {}) {
    this.url = url.replace(/\/$/, "");
    this.key = key;
    this.userToken = userToken;
    this.seen = "";
  }

  // Sends a click; it goes again under the same id, so that it counts once. keepalive: also while the page is left.
  async click(userId, itemId, more = {}, tries = 3) {
    const body = JSON.stringify({ event_id: crypto.randomUUID(), user_id: userId, item_id: itemId, event: "click", ...more });
    for (let left = tries; ; left--) {
      let answer = null;
      try {
        answer = await fetch(`${this.url}/v1/clicks?${this.#query({})}`, {
          method: "POST", body, headers: this.#headers({ "Content-Type": "application/json" }), keepalive: true,
        });
      } catch (error) {
        if (left <= 1) throw error;
      }
      if (answer?.ok) {
        const receipt = await answer.json();
        this.seen = receipt.seen;
        return receipt;
      }
      if (answer && (left <= 1 || ![429, 503].includes(answer.status))) throw await problem(answer);
      const pause = Number(answer?.headers.get("Retry-After") ?? 1);
      await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
    }
  }

  // The user's list, which knows the last click that was sent from here.
  async recommendations(userId, asked = {}) {
    const query = this.#query(this.seen ? { seen: this.seen, ...asked } : asked);
    const answer = await fetch(`${this.url}/v1/users/${encodeURIComponent(userId)}/recommendations?${query}`, {
      headers: this.#headers({}),
    });
    if (!answer.ok) throw await problem(answer);
    return answer.json();
  }

  // Calls `show` with the newest list at once, and with each that is made; returns what ends it.
  stream(userId, show, asked = {}) {
    const query = this.#query(this.key ? { key: this.key, ...asked } : asked); // EventSource sends no headers
    const source = new EventSource(`${this.url}/v1/users/${encodeURIComponent(userId)}/recommendations/stream?${query}`);
    source.addEventListener("recommendation", (event) => show(JSON.parse(event.data)));
    return () => source.close();
  }

  #query(asked) {
    return new URLSearchParams(this.userToken ? { user_token: this.userToken, ...asked } : asked);
  }

  #headers(own) {
    return this.key ? { ...own, Authorization: `Bearer ${this.key}` } : own;
  }
}

async function problem(answer) {
  const told = await answer.json().catch(() => ({}));
  return Object.assign(new Error(told.detail ?? answer.statusText), { status: answer.status, errors: told.errors });
}
