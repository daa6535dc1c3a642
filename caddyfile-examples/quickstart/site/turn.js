// A turn: a message and its answer, over as many connections as that takes.
//
// A turn belongs to a chat (here), which may be left while it runs. It tells the chat
// what happens by here.accepted, here.refused and here.reload.

import { Failure, Pauses, call, stream } from "./gateway.js";
import { Message, announce, clearNotice, contentGrew, endings, facts, notify, report, scrollToBottom, usageFacts } from "./view.js";
import { newUUID } from "./storage.js";

// Endings that leave something to try again.
const partialEndings = {
	budget: "This answer ended early: the tenant has used up its budget for now.",
	cancelled: "The answer was stopped.",
	incomplete: "The last answer is incomplete.",
};

// send posts a message, {text, key}, and follows the answer. replaces is the question
// and the answer on the page that a retry is about.
export async function send(here, message, replaces = null) {
	const question = replaces?.question ?? here.add(new Message("user", { text: message.text }));
	const turn = begin(here, question, message, replaces?.answer);
	try {
		const events = await post(turn);
		turn.accepted = true;
		here.accepted(message);
		await carry(turn, () => events);
	} catch (error) {
		give(turn, error);
	}
}

// pickUp follows the answer to a stored message, in case it is still being written.
export async function pickUp(here, question) {
	const turn = begin(here, question);
	await carry(turn, resume).catch((error) => give(turn, error));
}

// offerRetry says that the last answer on the page is not whole.
export function offerRetry(here, reason, question, answer) {
	notify(partialEndings[reason], { kind: "info", retry: () => again(here, question, answer) });
}

// again asks for another answer, which replaces the last one. It has a key of its own,
// as under the old one the old answer would come again.
function again(here, question, answer) {
	send(here, { text: question.text, key: newUUID(), retry: true }, { question, answer });
}

// begin puts the answer on the page. If it replaces another one, that is hidden until
// the new one has text.
function begin(here, question, message = null, replaced = null) {
	const answer = here.add(new Message("assistant", { state: "streaming" }));
	if (replaced) replaced.node.hidden = true;
	clearNotice();
	const turn = here.turn = {
		here, question, answer, message, replaced,
		controller: new AbortController(),
		pauses: new Pauses(),
		accepted: false, // the server has begun to answer the message
		id: "", seen: 0, // the last event shown is id:seen
		failure: null, // what an event says of it
		repeated: false, // the message was sent once more
		stopping: false,
		ended: false,
	};
	here.changed();
	scrollToBottom();
	return turn;
}

function post({ here, message, controller }) {
	return stream("POST", "/chat", {
		body: { sessionId: here.id, message: message.text, stream: true, ...(message.retry && { retry: true }) },
		headers: { "Idempotency-Key": message.key },
		signal: controller.signal,
	});
}

function resume({ here, id, seen, controller }) {
	return stream("GET", `/chat/${here.id}/stream`, {
		headers: id && { "Last-Event-ID": `${id}:${seen}` },
		signal: controller.signal,
	});
}

// carry reads the answer to its end. When the connection is lost, it resumes after the
// last event that is on the page, until the server says how the turn has ended.
async function carry(turn, connect) {
	const { here, pauses, controller: { signal } } = turn;
	for (;;) {
		let failure = null;
		try {
			const events = await connect(turn);
			if (!here.open) return;
			clearNotice();
			await (events ? readAnswer(turn, events) : settle(turn));
		} catch (error) {
			if (!error.passing) throw error;
			failure = error;
		}
		if (turn.ended || !here.open) return;
		signal.throwIfAborted();
		notify("The connection was lost. Picking the answer up again…", { kind: "info", retry: () => pauses.end() });
		await pauses.wait(signal, failure?.retryAfter);
		connect = resume;
	}
}

// readAnswer shows the events of one response, each of them once. It returns at the
// end of the response; whether that was the end of the turn is in turn.ended.
async function readAnswer(turn, events) {
	const { here, answer } = turn;
	for await (const event of events) {
		if (!here.open) return;
		const colon = event.id.lastIndexOf(":");
		const id = event.id.slice(0, Math.max(colon, 0)), n = Number(event.id.slice(colon + 1));
		// Another turn: the one that was asked for is over, and so is in the store.
		if (id !== turn.id && (turn.id !== "" || id === here.lastTurn)) return settle(turn);
		if (id === turn.id && id !== "" && n <= turn.seen) continue;
		turn.id = id;
		turn.seen = n;
		turn.pauses.reset();

		const data = JSON.parse(event.data);
		if (event.type === "error") turn.failure = new Failure(data.code);
		else if (event.type === "done") return endTurn(turn, data.finishReason, data.usage);
		else if (event.type === "message") answer.append(data.content ?? "");
	}
}

// settle ends a turn that the server does not write any more, by what is in the store.
async function settle(turn) {
	const { here, question, answer, controller: { signal } } = turn;
	const { messages } = await call("GET", `/chat/${here.id}/history?limit=1`, { signal });
	if (turn.ended || !here.open) return;
	const last = messages.at(-1);
	if (last?.role === "assistant" && last.content.startsWith(answer.text)) {
		answer.append(last.content.slice(answer.text.length));
		return endTurn(turn, last.status === "partial" ? "incomplete" : "stop", { modelId: last.modelId });
	}
	if (last?.role !== "user" || last.content !== question.text) {
		// The chat has gone on elsewhere.
		close(turn, "complete", "");
		return here.reload();
	}
	// The server has lost the turn, as a kill does. Under its key the message is
	// neither stored nor answered twice.
	if (!turn.message || turn.repeated) throw new Failure(answer.text === "" ? "unanswered" : "cut");
	const events = await post(turn);
	if (!here.open) return;
	turn.repeated = true;
	turn.id = "";
	answer.end("streaming", "", "");
	await readAnswer(turn, events);
}

// give ends a turn with a failure, unless it has ended already: after "done" nothing
// can fail any more, and a chat that was left keeps no page waiting.
function give(turn, error) {
	if (turn.ended || !turn.here.open) return;
	if (turn.stopping) endTurn(turn, "cancelled");
	else failTurn(turn, error);
}

function endTurn(turn, finishReason, usage) {
	if (turn.ended) return;
	const { here, question, answer } = turn;
	const failed = finishReason === "error" || turn.failure;
	if (failed && !turn.stopping) return failTurn(turn, turn.failure ?? new Failure("ai_error"), usage);
	const reason = failed ? "cancelled" : finishReason;
	const partial = reason in partialEndings;
	const last = close(turn, partial ? "partial" : "complete", facts(...usageFacts(usage), endings[reason]));
	if (partial) offerRetry(here, reason, question, last);
	else announce(answer.text);
}

function failTurn(turn, failure, usage) {
	const { here, question, answer, message, replaced } = turn;
	// The message was refused, or has not reached the server.
	const unstored = message && !turn.repeated && answer.text === "" && !failure.stored && (!turn.accepted || turn.failure);
	const last = close(turn, "error", facts(...usageFacts(usage), answer.text ? "incomplete" : "no answer"));
	if (!unstored || replaced) {
		return report(failure, { retry: () => again(here, question, last) });
	}
	here.remove(answer);
	here.remove(question);
	here.refused(message, failure);
}

// close ends a turn, and returns the last answer on the page: that which was to be
// replaced, if the new one has no text.
function close(turn, state, meta) {
	const { here, answer, replaced } = turn;
	turn.ended = true;
	here.turn = null;
	here.lastTurn = turn.id;
	answer.end(state, meta);
	const instead = replaced && state !== "complete" && answer.text === "";
	if (instead) replaced.node.hidden = false;
	if (replaced) here.remove(instead ? answer : replaced);
	clearNotice();
	here.changed();
	here.ended(turn.message);
	contentGrew();
	return instead ? replaced : answer;
}

// stop asks the server to end the answer, which then ends as any other does. Where
// that takes too long the page stops reading.
export async function stop(here) {
	const turn = here.turn;
	if (!turn || turn.stopping) return;
	turn.stopping = true;
	here.changed();
	const { signal } = turn.controller;
	setTimeout(() => turn.controller.abort(), 4000);
	// A server that does not answer is no reason to go on reading.
	await call("POST", `/chat/${here.id}/cancel`, { signal }).catch(() => turn.controller.abort());
}
