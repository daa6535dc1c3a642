package messages

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
)

// answered returns messages, which sent ones follow, without the calls that have no result
// right behind them: Anthropic takes none. Thinking cannot be the last that is left.
func answered(list []json.RawMessage, sent gjson.Result) []json.RawMessage {
	results := make(map[string]bool) // in the messages behind
	for _, m := range sent.Array() {
		if m.Get("role").Str == roleAssistant {
			break
		}
		addResults(results, m)
	}
	var kept []json.RawMessage
	for _, raw := range slices.Backward(list) {
		m := gjson.ParseBytes(raw)
		if m.Get("role").Str != roleAssistant {
			addResults(results, m)
			kept = append(kept, raw)
			continue
		}
		if raw = withAnswered(raw, m.Get("content"), results); raw != nil {
			kept = append(kept, raw)
		}
		clear(results)
	}
	slices.Reverse(kept)
	return kept
}

// addResults adds the ids of the calls that a message answers.
func addResults(results map[string]bool, m gjson.Result) {
	for _, b := range m.Get("content").Array() {
		if typeOf(b) == "tool_result" {
			results[b.Get("tool_use_id").Str] = true
		}
	}
}

// withAnswered returns a message of the assistant with only those calls that have results;
// nil if nothing is left.
func withAnswered(raw json.RawMessage, content gjson.Result, results map[string]bool) json.RawMessage {
	if !content.IsArray() {
		return raw
	}
	blocks := content.Array()
	kept := slices.DeleteFunc(slices.Clone(blocks), func(b gjson.Result) bool {
		return typeOf(b) == kindTool && !results[b.Get("id").Str]
	})
	if len(kept) == len(blocks) {
		return raw
	}
	for n := len(kept); n > 0 && strings.HasSuffix(typeOf(kept[n-1]), kindThinking); n-- {
		kept = kept[:n-1]
	}
	if len(kept) == 0 {
		return nil
	}
	var list []json.RawMessage
	for _, b := range kept {
		list = append(list, json.RawMessage(b.Raw))
	}
	with, err := sjson.SetRawBytes(raw, "content", door.List(list))
	if err != nil {
		return nil
	}
	return with
}
