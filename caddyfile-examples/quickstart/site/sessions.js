// The list of the visitor's chats, which is a drawer on a phone.

import { call } from "./gateway.js";
import { $, focusComposer, page, report } from "./view.js";

// What the list asks of the page.
export const hooks = {
	open(id) {}, // shows a chat
	deleted(tenant, id) {}, // hears of one that is gone
};

let current = ""; // the id of the chat on the page

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

let listing = 0; // counts the calls, so that of two answers the later call's wins

export async function refreshSessions(before = null) {
	const mine = ++listing;
	let data, note = "";
	try {
		data = await call("GET", `/chat?limit=50${before ? `&before=${encodeURIComponent(before)}` : ""}`);
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
		hooks.open(sessionId);
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
	const tenant = page.tenant.value;
	try {
		await call("DELETE", `/chat/${id}`);
	} catch (error) {
		if (error.code !== "session_not_found") {
			closeSidebar();
			return report(error, { retry: () => deleteSession(id) });
		}
	}
	hooks.deleted(tenant, id);
	refreshSessions();
	focusComposer();
}

export function markCurrentSession(id = current) {
	current = id;
	page.title.textContent = "Chat";
	for (const item of page.sessions.children) {
		const isCurrent = item.dataset.id === current;
		item.querySelector(".open").setAttribute("aria-current", isCurrent);
		if (isCurrent) page.title.textContent = item.querySelector(".name").textContent;
	}
}

/* The drawer that the list is on a phone. */

export function openSidebar() {
	page.sidebar.dataset.open = "";
	page.backdrop.hidden = false;
	page.main.inert = true;
	page.openSidebar.setAttribute("aria-expanded", "true");
	page.closeSidebar.focus();
}

export function closeSidebar() {
	if (!("open" in page.sidebar.dataset)) return;
	delete page.sidebar.dataset.open;
	page.backdrop.hidden = true;
	page.main.inert = false;
	page.openSidebar.setAttribute("aria-expanded", "false");
	page.openSidebar.focus();
}
