// What the browser keeps, in localStorage: who the visitor is, the tenant, each
// tenant's open chat, and each chat's messages that have not reached the server.

// Storage may be forbidden; then things last as long as the page.
const memory = new Map();

export function recall(key) {
	try {
		return localStorage.getItem(key);
	} catch {
		return memory.get(key) ?? null;
	}
}

export function remember(key, value) {
	try {
		localStorage.setItem(key, value);
	} catch {
		memory.set(key, value);
	}
}

export function forget(key) {
	memory.delete(key);
	try {
		localStorage.removeItem(key);
	} catch {
		// it was never there
	}
}

// Browsers offer randomUUID on https and localhost only, getRandomValues everywhere.
export function newUUID() {
	if (crypto.randomUUID) return crypto.randomUUID();
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	bytes[6] = (bytes[6] & 0x0f) | 0x40;
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
	return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export const user = recall("chat.user") ?? newUUID();
remember("chat.user", user);

// Slot holds one message of a chat: {text}, and if it was sent, the Idempotency-Key of
// that and how many times the chat had it before. Its kind is "draft" for what is in the composer, and "sent"
// for what is on its way to the server.
export class Slot {
	#name;

	constructor(kind, tenant, id) {
		this.#name = `chat.${kind}.${tenant}.${id}`;
	}

	get message() {
		try {
			return JSON.parse(recall(this.#name));
		} catch {
			return null;
		}
	}

	set message(message) {
		if (message?.text) remember(this.#name, JSON.stringify(message));
		else forget(this.#name);
	}
}
