// Calls to the gateway's API under /chat, and its streams.

import { user } from "./storage.js";

// What the gateway's error codes mean to the person in front of the page.
const words = {
	ai_error: "The model could not answer.",
	ai_timeout: "The model took too long to answer.",
	ai_unavailable: "The model is not available at the moment.",
	bad_answer: "What answered here is not the chat gateway. Is it running, and is /chat routed to it?",
	budget_exceeded: "This tenant has used up its budget for now.",
	content_filtered: "The model's provider refused this message because of its content.",
	cut: "The connection was cut before the answer was complete.",
	invalid_api_key: "This tenant asks for an API key, and this page does not send one.",
	model_not_allowed: "This tenant may not use the model it is set up with.",
	model_unknown: "The model this site is set up with does not exist.",
	network: "The server cannot be reached. Check your connection.",
	payload_too_large: "This message is too large for the server. Please shorten it.",
	provider_rate_limited: "The model's provider is overloaded at the moment.",
	rate_limited: "You are sending messages faster than this site allows.",
	session_busy: "The last answer in this chat is still being written, perhaps in another window.",
	session_not_found: "This chat does not exist any more.",
	storage_unavailable: "The server cannot reach its chat store at the moment.",
	tenant_mismatch: "This address belongs to another tenant.",
	tenant_required: "The server needs to know which tenant you are visiting.",
	tenant_unknown: "This server has no tenant of that name.",
	unanswered: "The last message was not answered.",
};

export class Failure extends Error {
	constructor(code, { status = 0, retryAfter = 0 } = {}) {
		super(code);
		this.code = code;
		this.status = status; // 0 if there was no answer
		this.retryAfter = retryAfter; // seconds, 0 when the server named none
	}

	get text() {
		return words[this.code] ?? "Something went wrong on the server.";
	}

	// passing says that the same request may succeed after a while.
	get passing() {
		return this.code === "network" || this.status === 429 || this.status >= 500;
	}

	// stored says that the message is in the history, though it has no answer.
	get stored() {
		return ["ai_error", "ai_timeout", "ai_unavailable", "cut", "tenant_gone", "unanswered"].includes(this.code);
	}
}

// The server sends a comment into a silent stream every 15 seconds (keep_alive of
// chat_session). A connection without any for longer than this is dead, even if
// nothing has closed it: a phone that changes networks hears of no end.
const silence = 2500 * (Number(document.documentElement.dataset.keepAlive) || 15);

// Only a message may have to wait for the model before its answer begins. A browser
// keeps idle connections, and after a dead one should soon try the next.
const soon = Math.min(silence, 10_000);

// Pulse watches one connection, and calls dead when it is.
class Pulse {
	#dead;
	#timer = 0;
	#heard = 0;

	constructor(dead, patience) {
		this.#dead = dead;
		addEventListener("online", this);
		document.addEventListener("visibilitychange", this);
		this.beat(patience);
	}

	// beat notes that something has arrived.
	beat(patience = silence) {
		this.#heard = Date.now();
		clearTimeout(this.#timer);
		this.#timer = setTimeout(this.#dead, patience);
	}

	// A network that comes back is another one. And the timers of a page that sleeps
	// do not run.
	handleEvent({ type }) {
		if (type === "online" || Date.now() - this.#heard > silence) this.#dead();
	}

	stop() {
		clearTimeout(this.#timer);
		removeEventListener("online", this);
		document.removeEventListener("visibilitychange", this);
	}
}

// request resolves with a successful response and the pulse of its connection, and
// throws a Failure for every other.
async function request(method, path, { body, headers, signal } = {}) {
	const controller = new AbortController();
	const pulse = new Pulse(() => controller.abort(), method === "POST" ? silence : soon);
	let response;
	try {
		response = await fetch(path, {
			method,
			signal: signal ? AbortSignal.any([signal, controller.signal]) : controller.signal,
			cache: "no-store",
			headers: {
				"X-Tenant-Id": document.documentElement.dataset.tenant,
				"X-User-Id": user,
				...(body && { "Content-Type": "application/json" }),
				...headers,
			},
			body: body && JSON.stringify(body),
		});
	} catch {
		pulse.stop();
		throw new Failure("network");
	}
	pulse.beat();
	if (response.ok) return { response, pulse };
	const answer = await response.json().catch(() => null);
	pulse.stop();
	throw new Failure(answer?.error?.code ?? "unknown", {
		status: response.status,
		retryAfter: Number.parseInt(response.headers.get("Retry-After"), 10) || 0,
	});
}

// call resolves with the data of an answer.
export async function call(method, path, options) {
	const { response, pulse } = await request(method, path, options);
	const text = await response.text().catch(() => null);
	pulse.stop();
	if (text === null) throw new Failure("network");
	try {
		const answer = JSON.parse(text);
		if (answer?.ok) return answer.data;
	} catch {
		// not the gateway's
	}
	throw new Failure("bad_answer");
}

// stream resolves with the events of an answer, or null if there are none to follow.
export async function stream(method, path, options) {
	const { response, pulse } = await request(method, path, options);
	if (response.status !== 204 && response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
		return readEvents(response.body, pulse);
	}
	pulse.stop();
	response.body?.cancel().catch(() => {});
	if (response.status === 204) return null;
	throw new Failure("bad_answer");
}

/* Server-sent events, as the HTML standard says to read them. */

// readEvents yields {type, data, id} for each whole event of the stream. An event
// that the end of the stream cuts in two is dropped.
async function* readEvents(body, pulse) {
	let type = "", data = [], id = "";
	for await (const line of readLines(body, pulse)) {
		if (line === "") {
			if (data.length > 0) yield { type: type || "message", data: data.join("\n"), id };
			type = "";
			data = [];
			continue;
		}
		const colon = line.indexOf(":");
		const field = colon < 0 ? line : line.slice(0, colon); // empty for a comment
		const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
		if (field === "event") type = value;
		else if (field === "data") data.push(value);
		else if (field === "id" && !value.includes("\0")) id = value;
	}
}

// readLines yields the lines of a UTF-8 stream, whichever of CR, LF and CRLF ends them.
async function* readLines(body, pulse) {
	const reader = body.getReader();
	const decoder = new TextDecoder();
	let rest = "", afterCR = false;
	try {
		for (;;) {
			// A connection that breaks is an end like any other: only "done" tells a whole
			// answer from a cut one.
			const { done, value } = await reader.read().catch(() => ({ done: true }));
			if (done) return;
			pulse.beat();
			let text = decoder.decode(value, { stream: true });
			if (text === "") continue;
			// A CR ends its line at once; an LF that arrives later belongs to it.
			const skip = afterCR && text.startsWith("\n");
			afterCR = text.endsWith("\r");
			if (skip) text = text.slice(1);
			const lines = (rest + text).split(/\r\n|\r|\n/);
			rest = lines.pop();
			yield* lines;
		}
	} finally {
		pulse.stop();
		reader.cancel().catch(() => {});
	}
}

/* Coming back after a connection has failed. */

const longestPause = 30_000;

// Pauses are the growing pauses between two attempts to connect. They end early when
// there is reason to hope: the network is back, or the page is looked at.
export class Pauses {
	#first;
	#next;
	#wake = () => {};

	constructor(first = 1000) {
		this.#first = this.#next = first; // milliseconds
	}

	reset() {
		this.#next = this.#first;
	}

	end() {
		this.#wake();
	}

	// wait fails if the signal aborts. The pause is at least so many seconds long, where
	// the server asks for that. Without the random part all pages would come at once.
	async wait(signal = null, atLeast = 0) {
		const pause = Math.max(this.#next * (0.75 + Math.random() / 2), atLeast * 1000);
		this.#next = Math.min(2 * this.#next, longestPause);
		const listening = new AbortController();
		try {
			await new Promise((resolve, reject) => {
				const options = { signal: listening.signal };
				const timer = setTimeout(resolve, pause);
				this.#wake = resolve;
				if (atLeast === 0) {
					addEventListener("online", resolve, options);
					document.addEventListener("visibilitychange", () => document.hidden || resolve(), options);
				}
				listening.signal.addEventListener("abort", () => clearTimeout(timer));
				signal?.throwIfAborted();
				signal?.addEventListener("abort", () => reject(signal.reason), options);
			});
		} finally {
			listening.abort();
		}
	}
}
