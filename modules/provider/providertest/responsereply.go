package providertest

import (
	"fmt"
	"maps"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// ResponseEvents writes the events with which OpenAI answers a request of Responses. A
// reply that finishes with "failed" breaks off after its parts.
func ResponseEvents(body []byte, r Reply) [][]byte {
	w := responseWriter{req: gjson.ParseBytes(body), reply: r}
	w.send("response.created", Object{"response": w.response("in_progress")})
	w.send("response.in_progress", Object{"response": w.response("in_progress")})
	w.blocks()
	status := w.status()
	if status == "failed" {
		w.send("error", Object{"error": Object{"type": "server_error", "code": "server_error", "message": responseFault, "param": nil}})
	}
	w.send("response."+status, Object{"response": w.response(status)})
	return w.events
}

// WholeResponse writes the document with which OpenAI answers.
func WholeResponse(body []byte, r Reply) []byte {
	w := responseWriter{req: gjson.ParseBytes(body), reply: r}
	w.blocks()
	return JSON(w.response(w.status()))
}

const responseFault = "An error occurred while processing your request."

// responseWriter writes the answer to a request.
type responseWriter struct {
	req    gjson.Result
	reply  Reply
	events [][]byte
	output []Object
}

// send writes an event. OpenAI's begin with the type and the number.
func (w *responseWriter) send(typ string, members Object) {
	data := fmt.Sprintf(`{"type":%q,"sequence_number":%d,%s`, typ, len(w.events), JSON(members)[1:])
	w.events = append(w.events, Event(typ, []byte(data)))
}

func (w *responseWriter) status() string {
	switch w.reply.Finish {
	case "length", "content_filter":
		return "incomplete"
	case "failed":
		return "failed"
	}
	return "completed"
}

// response writes the response as it is so far.
func (w *responseWriter) response(status string) Object {
	or := func(path string, otherwise any) any {
		if v := w.req.Get(path); v.Exists() {
			return v.Value()
		}
		return otherwise
	}
	r := Object{
		"id": w.id("resp"), "object": "response", "created_at": 1700000000, "status": status, "background": false, "error": nil, "incomplete_details": nil,
		"instructions": or("instructions", nil), "max_output_tokens": or("max_output_tokens", nil), "max_tool_calls": or("max_tool_calls", nil),
		"metadata": or("metadata", Object{}), "model": w.reply.Model, "output": []Object{}, "parallel_tool_calls": or("parallel_tool_calls", true),
		"previous_response_id": nil, "prompt_cache_key": or("prompt_cache_key", nil), "prompt_cache_retention": nil,
		"reasoning":         Object{"effort": or("reasoning.effort", "medium"), "summary": or("reasoning.summary", nil)},
		"safety_identifier": or("safety_identifier", nil), "service_tier": "default", "store": false, "temperature": or("temperature", 1),
		"text":        Object{"format": or("text.format", Object{"type": "text"}), "verbosity": or("text.verbosity", "medium")},
		"tool_choice": or("tool_choice", "auto"), "tools": or("tools", []Object{}), "top_logprobs": 0, "top_p": or("top_p", 1),
		"truncation": or("truncation", "disabled"), "usage": nil, "user": or("user", nil),
	}
	switch {
	case status == "in_progress":
		return r
	case status == "failed":
		r["error"] = Object{"code": "server_error", "message": responseFault}
		return r
	case w.reply.Finish == "length":
		r["incomplete_details"] = Object{"reason": "max_output_tokens"}
	case w.reply.Finish == "content_filter":
		r["incomplete_details"] = Object{"reason": "content_filter"}
	}
	if w.output != nil {
		r["output"] = w.output
	}
	u := w.reply.Usage
	if u == nil {
		u = &provider.Usage{Input: 9, Output: 7} // there is always one
	}
	r["usage"] = Object{
		"input_tokens": u.Input, "input_tokens_details": Object{"cached_tokens": u.Cached, "cache_write_tokens": u.Written},
		"output_tokens": u.Output, "output_tokens_details": Object{"reasoning_tokens": u.Reasoning}, "total_tokens": u.Total(),
	}
	return r
}

// id makes up an id of its own for the response to an input of this length, and for the
// items of its output.
func (w *responseWriter) id(prefix string) string {
	id := fmt.Sprintf("%s_%d", prefix, w.req.Get("input.#").Int())
	if prefix != "resp" {
		id += fmt.Sprintf("_%d", len(w.output))
	}
	return id
}

// blocks writes the output, item by item: OpenAI does not come back to one.
func (w *responseWriter) blocks() {
	parts := w.reply.Blocks()
	for block := 0; ; block++ {
		var of []Part
		for _, p := range parts {
			if p.Block == block {
				of = append(of, p)
			}
		}
		if of == nil {
			return
		}
		switch {
		case of[0].Call > 0:
			w.call(of)
		case of[0].Reasoning != "":
			w.reasoning(of)
		default:
			w.message(of)
		}
	}
}

// item writes an item around what between writes for its id.
func (w *responseWriter) item(prefix string, begun, ended Object, between func(at Object)) {
	id, index := w.id(prefix), len(w.output)
	begun["id"], ended["id"] = id, id
	w.send("response.output_item.added", Object{"output_index": index, "item": begun})
	between(Object{"item_id": id, "output_index": index})
	w.send("response.output_item.done", Object{"output_index": index, "item": ended})
	w.output = append(w.output, ended)
}

// ended is the status of an item that is over.
func (w *responseWriter) ended() string {
	if status := w.status(); status == "incomplete" {
		return status
	}
	return "completed"
}

// at returns a place with more members.
func at(place, more Object) Object {
	all := Object{}
	maps.Copy(all, place)
	maps.Copy(all, more)
	return all
}

// reasoning writes a summary, if one was asked for, and seals the reasoning itself.
func (w *responseWriter) reasoning(parts []Part) {
	whole := Reply{Parts: parts}
	text := whole.Reasoning()
	begun, ended := Object{"type": "reasoning", "summary": []Object{}}, Object{"type": "reasoning", "summary": []Object{}}
	if includes(w.req, "reasoning.encrypted_content") {
		begun["encrypted_content"], ended["encrypted_content"] = sealedReasoning, sealedReasoning
	}
	summarized := w.req.Get("reasoning.summary").Str != ""
	if summarized {
		ended["summary"] = []Object{{"type": "summary_text", "text": text}}
	}
	w.item("rs", begun, ended, func(place Object) {
		if !summarized {
			return
		}
		place["summary_index"] = 0
		w.send("response.reasoning_summary_part.added", at(place, Object{"part": Object{"type": "summary_text", "text": ""}}))
		for _, p := range parts {
			w.send("response.reasoning_summary_text.delta", at(place, Object{"delta": p.Reasoning, "obfuscation": "x"}))
		}
		w.send("response.reasoning_summary_text.done", at(place, Object{"text": text}))
		w.send("response.reasoning_summary_part.done", at(place, Object{"part": Object{"type": "summary_text", "text": text}}))
	})
}

func (w *responseWriter) message(parts []Part) {
	whole := Reply{Parts: parts}
	text := whole.Text()
	said := func(text string) Object {
		return Object{"type": "output_text", "annotations": []Object{}, "logprobs": []Object{}, "text": text}
	}
	w.item("msg",
		Object{"type": "message", "role": "assistant", "status": "in_progress", "content": []Object{}},
		Object{"type": "message", "role": "assistant", "status": w.ended(), "content": []Object{said(text)}},
		func(place Object) {
			place["content_index"] = 0
			w.send("response.content_part.added", at(place, Object{"part": said("")}))
			for _, p := range parts {
				w.send("response.output_text.delta", at(place, Object{"delta": p.Text, "logprobs": []Object{}, "obfuscation": "x"}))
			}
			w.send("response.output_text.done", at(place, Object{"text": text, "logprobs": []Object{}}))
			w.send("response.content_part.done", at(place, Object{"part": said(text)}))
		})
}

// call writes a call of a function, or of a custom tool, whose arguments are any text.
func (w *responseWriter) call(parts []Part) {
	first := parts[0]
	var all strings.Builder
	for _, p := range parts {
		all.WriteString(p.Arguments)
	}
	text := all.String()
	prefix, typ, member, event := "fc", "function_call", "arguments", "response.function_call_arguments"
	if w.req.Get(`tools.#(name==`+string(gjson.AppendJSONString(nil, first.Name))+`).type`).Str == "custom" {
		prefix, typ, member, event = "ctc", "custom_tool_call", "input", "response.custom_tool_call_input"
	}
	begun := Object{"type": typ, "status": "in_progress", member: "", "call_id": first.ID, "name": first.Name}
	ended := at(begun, Object{"status": w.ended(), member: text})
	w.item(prefix, begun, ended, func(place Object) {
		for _, p := range parts {
			if p.Arguments != "" {
				w.send(event+".delta", at(place, Object{"delta": p.Arguments, "obfuscation": "x"}))
			}
		}
		done := at(place, Object{member: text})
		if prefix == "fc" {
			done["name"] = first.Name
		}
		w.send(event+".done", done)
	})
}
