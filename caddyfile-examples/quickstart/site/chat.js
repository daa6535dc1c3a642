// The page of the quickstart: one conversation, the list of the earlier ones,
// and nothing between the browser and the gateway's own API under /chat.
//
// The store is the truth. The page keeps only three things of its own, in
// localStorage: who the visitor is, the tenant, and each tenant's open chat.

const $ = (id) => document.getElementById(id);

const page = {
	sidebar: $("sidebar"), sessions: $("sessions"), sessionsNote: $("sessions-note"), moreSessions: $("more-sessions"),
	openSidebar: $("open-sidebar"), closeSidebar: $("close-sidebar"), backdrop: $("backdrop"), main: $("main"),
	title: $("title"), tenant: $("tenant"), newChat: $("new-chat"),
	scroller: $("scroller"), earlier: $("earlier"), empty: $("empty"), messages: $("messages"), latest: $("latest"),
	notice: $("notice"), noticeText: $("notice-text"), noticeWait: $("notice-wait"), retry: $("retry"),
	form: $("form"), composer: $("composer"), send: $("send"), stop: $("stop"), announcer: $("announcer"),
};

const maxMessage = 10_000; // Unicode code points, as the gateway counts them

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

// Why an answer ended, where it is worth a word: "stop" is how answers should end.
// The gateway's reasons, and "incomplete" for a partial answer found in the store.
const endings = {
	budget: "ended by the budget",
	cancelled: "stopped",
	content_filter: "ended by the content filter",
	incomplete: "incomplete",
	length: "ended at the length limit",
};

// Those that leave something to try again.
const partialEndings = {
	budget: "This answer ended early: the tenant has used up its budget for now.",
	cancelled: "The answer was stopped.",
	incomplete: "The last answer is incomplete.",
};

class Failure extends Error {
	constructor(code, retryAfter = 0) {
		super(code);
		this.code = code;
		this.retryAfter = retryAfter; // seconds, 0 when the server named none
	}

	get text() {
		return words[this.code] ?? "Something went wrong on the server.";
	}
}

/* What the browser remembers. */

// Storage may be forbidden; then things last as long as the page.
const memory = new Map();

function recall(key) {
	try {
		return localStorage.getItem(key);
	} catch {
		return memory.get(key) ?? null;
	}
}

function remember(key, value) {
	try {
		localStorage.setItem(key, value);
	} catch {
		memory.set(key, value);
	}
}

// Browsers offer randomUUID on https and localhost only, getRandomValues everywhere.
function newUUID() {
	if (crypto.randomUUID) return crypto.randomUUID();
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	bytes[6] = (bytes[6] & 0x0f) | 0x40;
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
	return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const user = recall("chat.user") ?? newUUID();
remember("chat.user", user);

/* Calls to the gateway. */

// call resolves with a successful response, and throws a Failure for every other.
async function call(method, path, { body, headers, signal } = {}) {
	let response;
	try {
		response = await fetch(path, {
			method,
			signal,
			cache: "no-store",
			headers: {
				"X-Tenant-Id": page.tenant.value,
				"X-User-Id": user,
				...(body && { "Content-Type": "application/json" }),
				...headers,
			},
			body: body && JSON.stringify(body),
		});
	} catch {
		throw new Failure("network");
	}
	if (response.ok) return response;
	const answer = await response.json().catch(() => null);
	throw new Failure(answer?.error?.code ?? "unknown", Number.parseInt(response.headers.get("Retry-After"), 10) || 0);
}

async function callForData(method, path, options) {
	const response = await call(method, path, options);
	const answer = await response.json().catch(() => null);
	if (!answer?.ok) throw new Failure("bad_answer");
	return answer.data;
}

/* Server-sent events, as the HTML standard says to read them. */

// readEvents yields {type, data, id} for each whole event of the stream. An event
// that the end of the stream cuts in two is dropped.
async function* readEvents(body) {
	let type = "", data = [], id = "";
	for await (const line of readLines(body)) {
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
async function* readLines(body) {
	const reader = body.getReader();
	const decoder = new TextDecoder();
	let rest = "", afterCR = false;
	try {
		for (;;) {
			// A connection that breaks is an end like any other: only "done" tells a whole
			// answer from a cut one.
			const { done, value } = await reader.read().catch(() => ({ done: true }));
			if (done) return;
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
		reader.cancel().catch(() => {});
	}
}

/* Scrolling: the page follows the answer while the reader is at its end. */

let following = true;

function atBottom() {
	return page.scroller.scrollHeight - page.scroller.scrollTop - page.scroller.clientHeight < 40;
}

function scrollToBottom() {
	page.scroller.scrollTop = page.scroller.scrollHeight;
	noteScroll();
}

function noteScroll() {
	following = atBottom();
	page.latest.hidden = following;
}

function contentGrew() {
	if (following) scrollToBottom();
	else noteScroll();
}

/* Messages on the page. */

class Message {
	#text = "";
	#frame = 0;

	constructor(role, { text = "", state = "complete", meta = "" } = {}) {
		this.node = $("message-template").content.firstElementChild.cloneNode(true);
		this.node.dataset.role = role;
		this.node.querySelector("h2").textContent = role === "user" ? "You" : "Answer";
		this.#text = text;
		this.end(state, meta);
	}

	get text() {
		return this.#text;
	}

	// append draws once a frame, however many words arrive in it.
	append(text) {
		this.#text += text;
		this.#frame ||= requestAnimationFrame(() => {
			this.#draw();
			contentGrew();
		});
	}

	end(state, meta, text = this.#text) {
		this.#text = text;
		this.node.dataset.state = state;
		this.node.querySelector(".meta").textContent = meta;
		this.#draw();
	}

	// #draw shows plain text, with what stands between ``` fences as code. Nodes
	// stay where they are while text grows, so that a selection in them survives.
	#draw() {
		cancelAnimationFrame(this.#frame);
		this.#frame = 0;
		const holder = this.node.querySelector(".text");
		const parts = this.#text.split(/^[ \t]*```.*\n?/m);
		parts.forEach((part, i) => {
			const isCode = i % 2 === 1, isFirst = i === 0, isLast = i === parts.length - 1;
			const node = holder.children[i] ?? holder.appendChild(document.createElement(isCode ? "pre" : "p"));
			let text = part;
			if (!isCode && !isFirst) text = text.replace(/^\n+/, ""); // the space around code is the style's
			if (!isLast) text = text.replace(isCode ? /\n$/ : /\n+$/, "");
			if (node.textContent !== text) node.textContent = text;
			node.hidden = text === "" && !isLast;
		});
		while (holder.children.length > parts.length) holder.lastElementChild.remove();
	}
}

function addMessage(role, content) {
	const message = new Message(role, content);
	page.empty.hidden = true;
	page.messages.append(message.node);
	return message;
}

function fromHistory({ role, content, status, modelId, tokenCount }) {
	if (role === "user") return new Message("user", { text: content });
	const partial = status === "partial";
	return new Message("assistant", {
		text: content,
		state: partial ? "partial" : "complete",
		meta: facts(modelId, tokenCount && tokens(tokenCount), partial && endings.incomplete),
	});
}

const facts = (...all) => all.filter(Boolean).join(" · ");
const count = (n) => n.toLocaleString("en");
const tokens = (n) => `${count(n)} ${n === 1 ? "token" : "tokens"}`;

function usageFacts(usage) {
	if (!usage) return [];
	const { modelId, tokensIn, tokensOut, latencyMs, estimated } = usage;
	return [
		modelId,
		tokensOut >= 0 && `${estimated ? "about " : ""}${tokens(tokensIn ?? 0)} in, ${count(tokensOut)} out`,
		latencyMs >= 0 && `${(latencyMs / 1000).toFixed(latencyMs < 9950 ? 1 : 0)} s`,
	];
}

function announce(text) {
	page.announcer.textContent = text;
}

/* The notice above the composer. */

let countdown;

// notify says something, with a Retry button where there is something to retry;
// the button waits for as many seconds as the server asked for.
function notify(text, { kind = "error", retry = null, wait = 0 } = {}) {
	clearInterval(countdown);
	page.notice.hidden = false;
	page.notice.dataset.kind = kind;
	page.noticeText.textContent = text;
	page.retry.hidden = !retry;
	page.retry.onclick = () => {
		clearNotice();
		focusComposer();
		retry();
	};
	const freeAt = Date.now() + wait * 1000;
	const tick = () => {
		const left = Math.ceil((freeAt - Date.now()) / 1000);
		page.retry.disabled = left > 0;
		page.noticeWait.textContent = left > 0 ? `You can try again in ${duration(left)}.` : wait > 0 ? "You can try again now." : "";
		if (left <= 0) clearInterval(countdown);
	};
	countdown = setInterval(tick, 250);
	tick();
	announce(`${text} ${page.noticeWait.textContent}`);
	contentGrew();
}

function clearNotice() {
	clearInterval(countdown);
	page.notice.hidden = true;
}

function duration(seconds) {
	if (seconds < 120) return `${seconds} s`;
	const minutes = Math.ceil(seconds / 60);
	return minutes < 120 ? `${minutes} min` : `${Math.ceil(minutes / 60)} h`;
}

function report(error, options) {
	if (!(error instanceof Failure)) console.error(error);
	notify(error.text ?? "Something went wrong on this page.", { wait: error.retryAfter, ...options });
}

/* A turn: a message and its answer. */

// send posts a message of the visitor and follows the answer.
async function send(text) {
	const here = chat;
	const question = addMessage("user", { text });
	await runTurn(text, [question], async (signal) => {
		try {
			return await call("POST", "/chat", { body: { sessionId: here.id, message: text, stream: true }, signal });
		} finally {
			// The message is stored by now, so its chat is the newest. A list that shows it
			// so is not asked for again: that would count against the visitor's rate limit.
			const newest = page.sessions.firstElementChild?.dataset.id;
			if (chat === here && newest !== here.id) refreshSessions();
		}
	});
}

// pickUp follows the answer to a stored message, in case it is still being written.
async function pickUp(text) {
	await runTurn(text, [], (signal) => callForStream(chat, "", signal));
}

function callForStream(here, lastEventId, signal) {
	return call("GET", `/chat/${here.id}/stream`, { headers: lastEventId && { "Last-Event-ID": lastEventId }, signal });
}

// runTurn shows an answer from its first word to its end, whatever the end is.
async function runTurn(question, nodes, start) {
	const here = chat;
	const answer = addMessage("assistant", { state: "streaming" });
	const controller = new AbortController();
	const turn = here.turn = {
		here, question, answer, controller,
		id: "", seen: 0, // the last event shown is id:seen
		failure: null,
		stopping: false,
		ended: false,
		again: () => {
			// An answer without a word makes room for the next try.
			if (answer.text === "") [...nodes, answer].forEach((message) => message.node.remove());
			send(question);
		},
	};
	clearNotice();
	showBusy();
	scrollToBottom();
	try {
		await follow(turn, await start(controller.signal));
	} catch (error) {
		// After "done" nothing can fail any more; and a chat that was left keeps no page waiting.
		if (turn.ended || chat !== here) return;
		if (turn.stopping) endTurn(turn, "cancelled");
		else failTurn(turn, error);
	}
}

// follow reads the answer to its end. A stream that was cut is resumed once, from
// the last event that is on the page.
async function follow(turn, response) {
	const { here, controller: { signal } } = turn;
	for (let resumed = false; ; resumed = true) {
		if (response.status === 204) return settle(turn);
		if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Failure("bad_answer");
		await readAnswer(turn, response.body);
		if (turn.ended || chat !== here) return;
		signal.throwIfAborted();
		if (resumed) throw new Failure("cut");
		notify("The connection was cut. Picking the answer up again…", { kind: "info" });
		await pause(1000, signal);
		response = await callForStream(here, turn.id && `${turn.id}:${turn.seen}`, signal).catch(() => {
			throw new Failure("cut");
		});
		if (chat === here) clearNotice();
	}
}

// readAnswer shows the events of one response, each of them once. It returns at the
// end of the response; whether that was the end of the turn is in turn.ended.
async function readAnswer(turn, body) {
	const { here, answer } = turn;
	for await (const event of readEvents(body)) {
		if (chat !== here) return;
		const colon = event.id.lastIndexOf(":");
		const id = event.id.slice(0, Math.max(colon, 0)), n = Number(event.id.slice(colon + 1));
		// Another turn: the one that was asked for is over, and so is in the store.
		if (id !== turn.id && (turn.id !== "" || id === here.lastTurn)) return settle(turn);
		if (id === turn.id && id !== "" && n <= turn.seen) continue;
		turn.id = id;
		turn.seen = n;

		const data = JSON.parse(event.data);
		if (event.type === "error") turn.failure = new Failure(data.code);
		else if (event.type === "done") endTurn(turn, data.finishReason, data.usage);
		else if (event.type === "message") answer.append(data.content ?? "");
	}
}

// settle ends a turn that nobody writes any more: the answer is what the store holds,
// as long as that goes on from what the page has shown.
async function settle(turn) {
	const { here, answer } = turn;
	const { messages } = await callForData("GET", `/chat/${here.id}/history?limit=1`, { signal: turn.controller.signal });
	if (turn.ended || chat !== here) return;
	const last = messages.at(-1);
	if (last?.role !== "assistant" || !last.content.startsWith(answer.text)) {
		throw new Failure(answer.text === "" ? "unanswered" : "cut");
	}
	answer.append(last.content.slice(answer.text.length));
	endTurn(turn, last.status === "partial" ? "incomplete" : "stop", { modelId: last.modelId });
}

function endTurn(turn, finishReason, usage) {
	if (turn.ended) return;
	const failed = finishReason === "error" || turn.failure;
	if (failed && !turn.stopping) return failTurn(turn, turn.failure ?? new Failure("ai_error"), usage);
	const reason = failed ? "cancelled" : finishReason;
	const partial = partialEndings[reason];
	close(turn, partial ? "partial" : "complete", facts(...usageFacts(usage), endings[reason]));
	if (partial) notify(partial, { kind: "info", retry: turn.again });
	else announce(turn.answer.text);
}

function failTurn(turn, failure, usage) {
	close(turn, "error", facts(...usageFacts(usage), turn.answer.text ? "incomplete" : "no answer"));
	report(failure, { retry: turn.again });
}

function close(turn, state, meta) {
	turn.ended = true;
	turn.here.turn = null;
	turn.here.lastTurn = turn.id;
	turn.answer.end(state, meta);
	clearNotice();
	showBusy();
	contentGrew();
}

// stop asks the server to end the answer, which then ends as any other does. Where
// that takes too long the page stops reading.
async function stop() {
	const turn = chat.turn;
	if (!turn || turn.stopping) return;
	turn.stopping = true;
	showBusy();
	focusComposer();
	setTimeout(() => turn.controller.abort(), 4000);
	// A server that does not answer is no reason to go on reading.
	await call("POST", `/chat/${chat.id}/cancel`, { signal: turn.controller.signal }).catch(() => turn.controller.abort());
}

function pause(ms, signal) {
	return new Promise((resolve, reject) => {
		setTimeout(resolve, ms);
		signal.addEventListener("abort", () => reject(signal.reason));
	});
}

/* Chats. */

// The chat on the page. Whatever waits for the network compares it with the one it
// began in, and keeps quiet when the visitor has moved on.
let chat;

// openChat shows a chat as it is stored, and goes on reading where it is still being written.
async function openChat(id, { isNew = false } = {}) {
	chat?.turn?.controller.abort(); // the server goes on writing, and the answer is there on return
	const here = chat = { id, turn: null, lastTurn: null, loading: !isNew, nextBefore: null };
	remember(`chat.session.${page.tenant.value}`, id);
	clearNotice();
	announce("");
	page.messages.replaceChildren();
	page.empty.hidden = !isNew;
	page.earlier.hidden = true;
	markCurrentSession();
	showBusy();
	scrollToBottom();
	if (isNew) return;

	let messages;
	try {
		messages = await loadMessages(here);
	} catch (error) {
		if (chat === here) report(error, { retry: () => openChat(id) });
		return;
	} finally {
		here.loading = false;
		if (chat === here) showBusy();
	}
	if (chat !== here) return;
	page.empty.hidden = messages.length > 0;
	scrollToBottom();

	// A message is stored before its answer, so one without an answer has it still to come.
	const last = messages.at(-1);
	if (last?.role === "user") {
		await pickUp(last.content);
	} else if (last?.status === "partial") {
		const question = messages.findLast((message) => message.role === "user");
		if (question) notify(partialEndings.incomplete, { kind: "info", retry: () => send(question.content) });
	}
}

// loadMessages puts the newest messages, or those before the ones that are here, on the page.
async function loadMessages(here) {
	const before = here.nextBefore ? `&before=${encodeURIComponent(here.nextBefore)}` : "";
	let data;
	try {
		data = await callForData("GET", `/chat/${here.id}/history?limit=50${before}`);
	} catch (error) {
		if (error.code !== "session_not_found") throw error;
		data = { messages: [] }; // nothing has been said yet
	}
	if (chat !== here) return [];
	here.nextBefore = data.nextBefore ?? null;
	const fromEnd = page.scroller.scrollHeight - page.scroller.scrollTop;
	page.messages.prepend(...data.messages.map((message) => fromHistory(message).node));
	page.earlier.hidden = !here.nextBefore;
	page.scroller.scrollTop = page.scroller.scrollHeight - fromEnd; // what was being read stays where it was
	return data.messages;
}

async function loadEarlier() {
	const here = chat;
	page.earlier.disabled = true;
	try {
		await loadMessages(here);
	} catch (error) {
		if (chat === here) report(error, { retry: loadEarlier });
	} finally {
		page.earlier.disabled = false;
	}
}

function newChat() {
	openChat(newUUID(), { isNew: true });
}

function enterTenant() {
	const tenant = page.tenant.value;
	remember("chat.tenant", tenant);
	document.documentElement.dataset.tenant = tenant;
	$("empty-tenant").textContent = tenant;
	page.sessions.replaceChildren();
	const id = recall(`chat.session.${tenant}`);
	if (id) openChat(id);
	else newChat();
	refreshSessions();
}

/* The list of chats. */

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

let listing = 0; // counts the calls, so that of two answers the later call's wins

async function refreshSessions(before = null) {
	const mine = ++listing;
	let data, note = "";
	try {
		data = await callForData("GET", `/chat?limit=50${before ? `&before=${encodeURIComponent(before)}` : ""}`);
		if (data.sessions.length === 0 && !before) note = "None yet.";
	} catch {
		if (!page.sessions.hasChildNodes()) note = "The list cannot be loaded at the moment.";
	}
	if (mine !== listing) return;
	page.sessionsNote.textContent = note;
	if (!data) return;
	if (!before) page.sessions.replaceChildren();
	page.sessions.append(...data.sessions.map(sessionItem));
	page.moreSessions.hidden = !data.nextBefore;
	page.moreSessions.onclick = () => refreshSessions(data.nextBefore);
	markCurrentSession();
}

function sessionItem({ sessionId, title, updatedAt }) {
	const item = $("session-template").content.firstElementChild.cloneNode(true);
	const when = new Date(updatedAt);
	const name = title?.trim().split("\n", 1)[0] || "Untitled";
	item.dataset.id = sessionId;
	item.querySelector(".name").textContent = name;
	item.querySelector("time").dateTime = when.toISOString();
	item.querySelector("time").textContent = (when.toDateString() === new Date().toDateString() ? clock : calendar).format(when);
	item.querySelector(".open").onclick = () => {
		closeSidebar();
		openChat(sessionId);
		focusComposer();
	};
	const remove = item.querySelector(".delete");
	disarm(remove, name);
	remove.onclick = () => {
		if ("armed" in remove.dataset) deleteSession(sessionId);
		else arm(remove, name);
	};
	remove.onblur = () => disarm(remove, name);
	return item;
}

// Deleting takes two presses of the same button; looking elsewhere takes the first one back.
function arm(button, name) {
	button.dataset.armed = "";
	button.setAttribute("aria-label", `Really delete “${name}”?`);
	showArmed(button, true);
}

function disarm(button, name) {
	delete button.dataset.armed;
	button.setAttribute("aria-label", `Delete “${name}”`);
	showArmed(button, false);
}

function showArmed(button, armed) {
	button.querySelector("svg").toggleAttribute("hidden", armed);
	button.querySelector("span").hidden = !armed;
}

async function deleteSession(id) {
	try {
		await call("DELETE", `/chat/${id}`);
	} catch (error) {
		if (error.code !== "session_not_found") {
			closeSidebar();
			return report(error, { retry: () => deleteSession(id) });
		}
	}
	if (chat.id === id) newChat();
	refreshSessions();
	focusComposer();
}

function markCurrentSession() {
	page.title.textContent = "Chat";
	for (const item of page.sessions.children) {
		const current = item.dataset.id === chat.id;
		item.querySelector(".open").setAttribute("aria-current", current);
		if (current) page.title.textContent = item.querySelector(".name").textContent;
	}
}

/* The drawer that the list is on a phone. */

function openSidebar() {
	page.sidebar.dataset.open = "";
	page.backdrop.hidden = false;
	page.main.inert = true;
	page.openSidebar.setAttribute("aria-expanded", "true");
	page.closeSidebar.focus();
}

function closeSidebar() {
	if (!("open" in page.sidebar.dataset)) return;
	delete page.sidebar.dataset.open;
	page.backdrop.hidden = true;
	page.main.inert = false;
	page.openSidebar.setAttribute("aria-expanded", "false");
	page.openSidebar.focus();
}

/* The composer. */

// Where a finger is the pointer, focus would raise the keyboard over the answer.
function focusComposer() {
	if (!matchMedia("(pointer: coarse)").matches) page.composer.focus();
}

function showBusy() {
	const turn = chat.turn;
	page.messages.setAttribute("aria-busy", Boolean(turn) || chat.loading);
	page.send.hidden = Boolean(turn);
	page.send.disabled = chat.loading || page.composer.value.trim() === "";
	page.stop.hidden = !turn;
	page.stop.disabled = Boolean(turn?.stopping);
}

function fitComposer() {
	page.composer.style.height = "auto";
	page.composer.style.height = `${page.composer.scrollHeight}px`;
	showBusy();
}

function submit() {
	const text = page.composer.value.trim();
	if (text === "" || chat.turn || chat.loading) return;
	const length = [...text].length;
	if (length > maxMessage) {
		notify(`This message has ${count(length)} characters, and at most ${count(maxMessage)} can be sent.`);
		return;
	}
	page.composer.value = "";
	fitComposer();
	focusComposer();
	send(text);
}

page.form.onsubmit = (event) => {
	event.preventDefault();
	submit();
};
page.composer.oninput = fitComposer;
page.composer.onkeydown = (event) => {
	// While an input method composes, Enter is its own.
	if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
	event.preventDefault();
	submit();
};
document.onkeydown = (event) => {
	if (event.key !== "Escape" || event.isComposing) return;
	if ("open" in page.sidebar.dataset) closeSidebar();
	else stop();
};
page.stop.onclick = stop;
page.newChat.onclick = () => {
	newChat();
	focusComposer();
};
page.tenant.onchange = enterTenant;
page.earlier.onclick = loadEarlier;
page.latest.onclick = () => {
	scrollToBottom();
	focusComposer();
};
page.openSidebar.onclick = openSidebar;
page.closeSidebar.onclick = closeSidebar;
page.backdrop.onclick = closeSidebar;
page.scroller.onscroll = noteScroll;
new ResizeObserver(contentGrew).observe(page.scroller);
matchMedia("(max-width: 48rem)").onchange = closeSidebar;

const lastTenant = recall("chat.tenant");
if ([...page.tenant.options].some((option) => option.value === lastTenant)) page.tenant.value = lastTenant;
enterTenant();
fitComposer(); // some browsers keep what was typed over a reload
focusComposer();
