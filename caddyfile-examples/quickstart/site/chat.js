// The page of the quickstart: one conversation, the list of the earlier ones,
// and nothing between the browser and the gateway's own API under /chat.
//
// The store is the truth. What the browser keeps of its own is in storage.js; turn.js
// follows an answer, gateway.js talks to the server, view.js shows it, and sessions.js
// has the list.

import { Pauses, call } from "./gateway.js";
import { closeSidebar, hooks, markCurrentSession, openSidebar, refreshSessions } from "./sessions.js";
import { Slot, newUUID, recall, remember } from "./storage.js";
import { offerRetry, pickUp, send, stop } from "./turn.js";
import {
	$, announce, clearNotice, contentGrew, count, focusComposer, fromHistory, isFollowing, noteScroll, notify, page, report, scrollToBottom,
} from "./view.js";

const maxMessage = 10_000; // Unicode code points, as the gateway counts them

/* The chat on the page. */

// Chat is a chat while it is on the page. Whatever waits for the network looks at open
// when it returns, and keeps quiet when the visitor has moved on.
class Chat {
	open = true;
	turn = null;
	lastTurn = null; // the id of the last turn that ended here
	nextBefore = null;
	shown = []; // the messages on the page

	constructor(id, isNew) {
		this.id = id;
		this.tenant = page.tenant.value;
		this.loading = !isNew;
		this.draft = new Slot("draft", this.tenant, id);
		this.sent = new Slot("sent", this.tenant, id);
	}

	leave() {
		this.open = false;
		this.turn?.controller.abort(); // the server goes on writing, and the answer is there on return
	}

	add(message) {
		this.shown.push(message);
		page.empty.hidden = true;
		page.messages.append(message.node);
		return message;
	}

	remove(message) {
		this.shown = this.shown.filter((other) => other !== message);
		message.node.remove();
		page.empty.hidden = this.shown.length > 0;
	}

	// show replaces all messages by the newest of the history, and goes on reading where
	// one is still being written.
	async show({ messages, nextBefore = null }) {
		const wasFollowing = isFollowing();
		this.nextBefore = nextBefore;
		this.shown = messages.map(fromHistory);
		page.messages.replaceChildren(...this.shown.map((message) => message.node));
		page.empty.hidden = messages.length > 0;
		page.earlier.hidden = !nextBefore;
		clearNotice();
		if (wasFollowing) scrollToBottom();
		else noteScroll();

		// A message is stored before its answer, so one without an answer has it still to come.
		const last = this.shown.at(-1);
		if (last?.role === "user") return pickUp(this, last);
		const question = this.shown.findLast((message) => message.role === "user");
		if (question && messages.at(-1).status === "partial") offerRetry(this, "incomplete", question, last);
	}

	// shows says whether the page ends with these messages of the history.
	shows(messages) {
		const shown = this.shown.filter((message) => message.text !== "");
		const stored = messages.filter((message) => message.content !== "");
		const from = shown.length - stored.length;
		return from >= 0 && stored.every(({ role, content }, i) => {
			const message = shown[from + i];
			return (message.role === "user") === (role === "user") && message.text === content;
		});
	}

	// catchUp shows what was said elsewhere. A question that has just been sent may take
	// a moment to be stored.
	async catchUp(tries = 1) {
		const pauses = new Pauses(250);
		while (this.open && !this.turn && !this.loading) {
			const data = await this.history().catch(() => null);
			if (!this.open || this.turn || this.loading) return;
			if (data && !this.shows(data.messages)) return this.show(data);
			if (--tries === 0) return;
			await pauses.wait();
		}
	}

	// history resolves with the newest messages, or those before a place in it.
	async history(before = null) {
		const query = before ? `&before=${encodeURIComponent(before)}` : "";
		try {
			return await call("GET", `/chat/${this.id}/history?limit=50${query}`);
		} catch (error) {
			if (error.code !== "session_not_found") throw error;
			return { messages: [] }; // nothing has been said yet
		}
	}

	// times counts a question among messages, of the page or of the history.
	static times(text, messages) {
		return messages.filter((message) => message.role === "user" && (message.text ?? message.content) === text).length;
	}

	// say sends what the composer held. It is kept until the server has taken it.
	say(text) {
		const draft = this.draft.message;
		const message = { text, key: (draft?.text === text && draft.key) || newUUID(), times: Chat.times(text, this.shown) };
		this.sent.message = message;
		this.draft.message = null;
		tell("said", this);
		send(this, message);
	}

	accepted(message) {
		if (!message.retry) this.sent.message = null;
		tell("taken", this);
		// The message is stored by now, so its chat is the newest. A list that shows it
		// so is not asked for again: that would count against the visitor's rate limit.
		if (this.open && page.sessions.firstElementChild?.dataset.id !== this.id) refreshSessions();
	}

	ended(message) {
		if (message) tell("over", this);
	}

	// refused puts a message that is not in the history back into the composer.
	refused(message, failure) {
		this.giveBack(message);
		report(failure, { retry: submit });
		if (failure.code === "network") this.findOut();
	}

	// giveBack keeps the key, under which a message that did arrive is answered once.
	giveBack(message) {
		this.sent.message = null;
		const typed = page.composer.value.trim();
		this.draft.message = typed === "" ? message : { text: `${message.text}\n\n${typed}` };
		this.showDraft();
	}

	// arrived says whether a message that was sent is in the history. The same may have
	// been said before.
	arrived({ text, key, times }, messages) {
		return Boolean(key) && Chat.times(text, messages) > times;
	}

	// resolveSent finds out what became of a message that was on its way when the page
	// was left.
	resolveSent(messages) {
		const sent = this.sent.message, draft = this.draft.message;
		if (draft && this.arrived(draft, messages)) {
			this.draft.message = null;
			this.showDraft();
		}
		if (sent && this.arrived(sent, messages)) this.sent.message = null;
		else if (sent) this.giveBack(sent);
	}

	showDraft() {
		page.composer.value = this.draft.message?.text ?? "";
		fitComposer();
	}

	// findOut waits until the server is back. The message may have been lost on its way,
	// or only its answer.
	async findOut() {
		const message = this.draft.message;
		const waits = () => message.key && this.open && !this.turn && this.draft.message?.key === message.key;
		for (const pauses = new Pauses(); waits();) {
			await pauses.wait();
			const data = await this.history().catch(() => null);
			if (!data || !waits()) continue;
			if (!this.arrived(message, data.messages)) {
				return notify("The server is back. Your message was not sent.", { kind: "info", retry: submit });
			}
			this.draft.message = null;
			this.showDraft();
			return this.show(data);
		}
	}

	changed() {
		if (this.open) showBusy();
	}

	reload() {
		if (this.open) openChat(this.id);
	}
}

// let, so that what waits can tell the chat on the page from the one it began in.
let chat;

// openChat shows a chat as it is stored.
async function openChat(id, { isNew = false } = {}) {
	chat?.leave();
	const here = chat = new Chat(id, isNew);
	remember(`chat.session.${here.tenant}`, id);
	clearNotice();
	announce("");
	page.messages.replaceChildren();
	page.empty.hidden = !isNew;
	page.earlier.hidden = true;
	markCurrentSession(id);
	here.showDraft();
	scrollToBottom();
	if (isNew) return;

	for (const pauses = new Pauses(); here.loading;) {
		try {
			const data = await here.history();
			if (!here.open) return;
			here.loading = false;
			here.changed();
			here.resolveSent(data.messages);
			await here.show(data);
		} catch (error) {
			if (!here.open) return;
			here.loading = Boolean(error.passing);
			here.changed();
			report(error, { retry: () => openChat(id) });
			if (here.loading) await pauses.wait(null, error.retryAfter);
			if (!here.open) return;
		}
	}
}

async function loadEarlier() {
	const here = chat;
	page.earlier.disabled = true;
	try {
		const data = await here.history(here.nextBefore);
		if (!here.open) return;
		const fromEnd = page.scroller.scrollHeight - page.scroller.scrollTop;
		const messages = data.messages.map(fromHistory);
		here.shown.unshift(...messages);
		here.nextBefore = data.nextBefore ?? null;
		page.messages.prepend(...messages.map((message) => message.node));
		page.earlier.hidden = !here.nextBefore;
		page.scroller.scrollTop = page.scroller.scrollHeight - fromEnd; // what was being read stays where it was
	} catch (error) {
		if (here.open) report(error, { retry: loadEarlier });
	} finally {
		page.earlier.disabled = false;
	}
}

// newChat takes what is in the composer along.
function newChat() {
	const draft = chat.draft.message;
	chat.draft.message = null;
	openChat(newUUID(), { isNew: true });
	if (!draft) return;
	chat.draft.message = { text: draft.text };
	chat.showDraft();
}

function enterTenant() {
	const tenant = page.tenant.value;
	remember("chat.tenant", tenant);
	document.documentElement.dataset.tenant = tenant;
	$("empty-tenant").textContent = tenant;
	page.sessions.replaceChildren();
	const id = recall(`chat.session.${tenant}`);
	if (id) openChat(id);
	else openChat(newUUID(), { isNew: true });
	refreshSessions();
}

/* Other tabs of this browser. */

const tabs = new BroadcastChannel("chat");

function tell(what, { tenant, id }) {
	tabs.postMessage({ what, tenant, id });
}

tabs.onmessage = ({ data: { what, tenant, id } }) => {
	if (tenant !== chat.tenant) return;
	if (what !== "said") refreshSessions();
	if (id !== chat.id) return;
	if (what === "deleted") chat.reload();
	else chat.catchUp(what === "said" ? 6 : 1);
};

function lookAgain() {
	if (document.hidden) return;
	chat.catchUp();
	refreshSessions();
}

hooks.open = openChat;
hooks.deleted = (tenant, id) => {
	tell("deleted", { tenant, id });
	if (chat.id === id) newChat();
};

/* The composer. */

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
	chat.say(text);
}

function stopAnswer() {
	if (chat.turn) focusComposer(); // the button is about to go
	stop(chat);
}

page.form.onsubmit = (event) => {
	event.preventDefault();
	submit();
};
page.composer.oninput = () => {
	const text = page.composer.value;
	if (text.trim() !== chat.draft.message?.text) chat.draft.message = { text };
	fitComposer();
};
page.composer.onkeydown = (event) => {
	// While an input method composes, Enter is its own.
	if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
	event.preventDefault();
	submit();
};
document.onkeydown = (event) => {
	if (event.key !== "Escape" || event.isComposing) return;
	if ("open" in page.sidebar.dataset) closeSidebar();
	else stopAnswer();
};
page.stop.onclick = stopAnswer;
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
addEventListener("online", lookAgain);
document.addEventListener("visibilitychange", lookAgain);
matchMedia("(max-width: 48rem)").onchange = closeSidebar;

const lastTenant = recall("chat.tenant");
if ([...page.tenant.options].some((option) => option.value === lastTenant)) page.tenant.value = lastTenant;
enterTenant();
focusComposer();
