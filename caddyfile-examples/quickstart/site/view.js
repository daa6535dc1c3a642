// What is on the page: the messages, the notice above the composer, and how it scrolls.

import { Failure } from "./gateway.js";

export const $ = (id) => document.getElementById(id);

export const page = {
	sidebar: $("sidebar"), sessions: $("sessions"), sessionsNote: $("sessions-note"), moreSessions: $("more-sessions"),
	openSidebar: $("open-sidebar"), closeSidebar: $("close-sidebar"), backdrop: $("backdrop"), main: $("main"),
	title: $("title"), tenant: $("tenant"), newChat: $("new-chat"),
	scroller: $("scroller"), earlier: $("earlier"), empty: $("empty"), messages: $("messages"), latest: $("latest"),
	notice: $("notice"), noticeText: $("notice-text"), noticeWait: $("notice-wait"), retry: $("retry"),
	form: $("form"), composer: $("composer"), send: $("send"), stop: $("stop"), announcer: $("announcer"),
};

// Why an answer ended, where it is worth a word: "stop" is how answers should end.
// The gateway's reasons, and "incomplete" for a partial answer found in the store.
export const endings = {
	budget: "ended by the budget",
	cancelled: "stopped",
	content_filter: "ended by the content filter",
	incomplete: "incomplete",
	length: "ended at the length limit",
};

/* Scrolling: the page follows the answer while the reader is at its end. */

let following = true;

export const isFollowing = () => following;

function atBottom() {
	return page.scroller.scrollHeight - page.scroller.scrollTop - page.scroller.clientHeight < 40;
}

export function scrollToBottom() {
	page.scroller.scrollTop = page.scroller.scrollHeight;
	noteScroll();
}

let size = ""; // of the scroller, when its place was noted last

export function noteScroll() {
	const before = size;
	size = `${page.scroller.clientWidth}x${page.scroller.clientHeight}`;
	// A new size moves the end away from a reader who has not left it.
	if (following && size !== before) page.scroller.scrollTop = page.scroller.scrollHeight;
	following = atBottom();
	page.latest.hidden = following;
}

export function contentGrew() {
	if (following) scrollToBottom();
	else noteScroll();
}

/* Messages on the page. */

export class Message {
	#text = "";
	#frame = 0;

	constructor(role, { text = "", state = "complete", meta = "" } = {}) {
		this.node = $("message-template").content.firstElementChild.cloneNode(true);
		this.role = role;
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

export function fromHistory({ role, content, status, modelId, tokenCount }) {
	if (role === "user") return new Message("user", { text: content });
	const partial = status === "partial";
	return new Message("assistant", {
		text: content,
		state: partial ? "partial" : "complete",
		meta: facts(modelId, tokenCount && tokens(tokenCount), partial && endings.incomplete),
	});
}

export const facts = (...all) => all.filter(Boolean).join(" · ");
export const count = (n) => n.toLocaleString("en");
const tokens = (n) => `${count(n)} ${n === 1 ? "token" : "tokens"}`;

export function usageFacts(usage) {
	if (!usage) return [];
	const { modelId, tokensIn, tokensOut, latencyMs, estimated } = usage;
	return [
		modelId,
		tokensOut >= 0 && `${estimated ? "about " : ""}${tokens(tokensIn ?? 0)} in, ${count(tokensOut)} out`,
		latencyMs >= 0 && `${(latencyMs / 1000).toFixed(latencyMs < 9950 ? 1 : 0)} s`,
	];
}

export function announce(text) {
	page.announcer.textContent = text;
}

/* The notice above the composer. */

let countdown;

// notify says something, with a Retry button where there is something to retry;
// the button waits for as many seconds as the server asked for.
export function notify(text, { kind = "error", retry = null, wait = 0 } = {}) {
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

export function clearNotice() {
	clearInterval(countdown);
	page.notice.hidden = true;
}

function duration(seconds) {
	if (seconds < 120) return `${seconds} s`;
	const minutes = Math.ceil(seconds / 60);
	return minutes < 120 ? `${minutes} min` : `${Math.ceil(minutes / 60)} h`;
}

export function report(error, options) {
	if (!(error instanceof Failure)) console.error(error);
	notify(error.text ?? "Something went wrong on this page.", { wait: error.retryAfter, ...options });
}

// Where a finger is the pointer, focus would raise the keyboard over the answer.
export function focusComposer() {
	if (!matchMedia("(pointer: coarse)").matches) page.composer.focus();
}
