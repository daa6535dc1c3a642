package providertest

import (
	"testing"

	"github.com/tidwall/gjson"
)

// responseDocument is a response, after the types of OpenAI's own clients.
var responseDocument = anObject(shape{
	"id!": identity("resp"), "object!": oneOf("response"), "created_at!": anInteger(0, 1e12), "completed_at": orNull(anInteger(0, 1e12)), "background": orNull(aBoolean),
	"status!": oneOf("completed", "failed", "in_progress", "cancelled", "queued", "incomplete"), "error!": orNull(anObject(shape{"code!": anyText, "message!": anyText})),
	"incomplete_details!": orNull(anObject(shape{"reason!": oneOf("max_output_tokens", "content_filter")})),
	"instructions!":       anything, "max_output_tokens": anything, "max_tool_calls": anything, "metadata!": orNull(metadata), "model!": anyText,
	"output!": listOf(outputItem), "parallel_tool_calls!": aBoolean, "previous_response_id": anything, "prompt_cache_key": anything, "prompt_cache_retention": anything,
	"reasoning": anyObject, "safety_identifier": anything, "service_tier": anything, "store": aBoolean, "temperature!": orNull(aNumber(0, 2)), "text": anyObject,
	"tool_choice!": toolChoice, "tools!": listOf(tool), "top_logprobs": orNull(anInteger(0, 20)), "top_p!": orNull(aNumber(0, 1)), "truncation": anything, "user": anything,
	"usage": orNull(anObject(shape{
		"input_tokens!": count, "input_tokens_details!": anObject(shape{"cached_tokens!": count, "cache_write_tokens!": count}),
		"output_tokens!": count, "output_tokens_details!": anObject(shape{"reasoning_tokens!": count}), "total_tokens!": count,
	})),
})

var count = anInteger(0, 1e12)

// outputItem is an item of an answer, which has more than one that is sent back needs.
var outputItem = byType(map[string]want{
	"message": typed(shape{"id!": identity("msg"), "role!": oneOf("assistant"), "status!": itemStatus, "content!": listOf(outputPart)}),
	"reasoning": typed(shape{
		"id!": identity("rs"), "summary!": listOf(summaryPart), "encrypted_content": orNull(anyText),
	}),
	"function_call":    typed(shape{"id!": identity("fc"), "call_id!": anyText, "name!": anyText, "namespace": anyText, "arguments!": anyText, "status!": itemStatus}),
	"custom_tool_call": typed(shape{"id!": identity("ctc"), "call_id!": anyText, "name!": anyText, "namespace": anyText, "input!": anyText, "status!": itemStatus}),
})

var (
	outputPart = byType(map[string]want{
		"output_text": typed(shape{"text!": anyText, "annotations!": listOf(anyObject), "logprobs!": listOf(anyObject)}),
		"refusal":     typed(shape{"refusal!": anyText}),
	})
	summaryPart = byType(map[string]want{"summary_text": typed(shape{"text!": anyText})})
)

// responseEvent is an event of a stream.
var responseEvent = func() want {
	numbered := shape{"sequence_number!": count}
	whole := typed(numbered.and(shape{"response!": responseDocument}))
	item := typed(numbered.and(shape{"output_index!": count, "item!": outputItem}))
	within := numbered.and(shape{"item_id!": anyText, "output_index!": count})
	inContent := within.and(shape{"content_index!": count})
	inSummary := within.and(shape{"summary_index!": count})
	delta := shape{"delta!": anyText, "obfuscation": anyText}
	return byType(map[string]want{
		"response.created": whole, "response.in_progress": whole, "response.completed": whole, "response.incomplete": whole, "response.failed": whole,
		"response.output_item.added": item, "response.output_item.done": item,
		"response.content_part.added":            typed(inContent.and(shape{"part!": outputPart})),
		"response.content_part.done":             typed(inContent.and(shape{"part!": outputPart})),
		"response.output_text.delta":             typed(inContent.and(delta).and(shape{"logprobs!": listOf(anyObject)})),
		"response.output_text.done":              typed(inContent.and(shape{"text!": anyText, "logprobs!": listOf(anyObject)})),
		"response.refusal.delta":                 typed(inContent.and(delta)),
		"response.refusal.done":                  typed(inContent.and(shape{"refusal!": anyText})),
		"response.output_text.annotation.added":  typed(inContent.and(shape{"annotation!": anyObject, "annotation_index!": count})),
		"response.reasoning_summary_part.added":  typed(inSummary.and(shape{"part!": summaryPart})),
		"response.reasoning_summary_part.done":   typed(inSummary.and(shape{"part!": summaryPart})),
		"response.reasoning_summary_text.delta":  typed(inSummary.and(delta)),
		"response.reasoning_summary_text.done":   typed(inSummary.and(shape{"text!": anyText})),
		"response.function_call_arguments.delta": typed(within.and(delta)),
		"response.function_call_arguments.done":  typed(within.and(shape{"arguments!": anyText, "name!": anyText})),
		"response.custom_tool_call_input.delta":  typed(within.and(delta)),
		"response.custom_tool_call_input.done":   typed(within.and(shape{"input!": anyText})),
		// the form of OpenAI's servers, which is not the documented one
		"error": typed(numbered.and(shape{"error!": anObject(shape{"type!": anyText, "code!": orNull(anyText), "message!": anyText, "param!": orNull(anyText)})})),
	})
}()

// checkResponse checks that an answer has what clients of OpenAI's Responses may rely on.
func checkResponse(t testing.TB, doc gjson.Result) {
	t.Helper()
	if fault := responseDocument("", doc); fault != nil {
		t.Errorf("a strict client refuses the document: %v\n%s", fault, doc)
	}
}

// checkEvents checks that a stream has what clients may rely on.
func checkEvents(t testing.TB, stream []byte) {
	t.Helper()
	events(stream, func(e gjson.Result) {
		if fault := responseEvent("", e); fault != nil {
			t.Errorf("a strict client refuses an event: %v\n%s", fault, e)
		}
	})
	checkNumbers(t, stream)
}

// checkNumbers checks that the events of a response are numbered from 0, and that it is the
// same one to its end, which comes once.
func checkNumbers(t testing.TB, stream []byte) {
	t.Helper()
	n, ends, id := int64(0), 0, ""
	events(stream, func(e gjson.Result) {
		if e.Get("sequence_number").Raw == "" || e.Get("sequence_number").Int() != n {
			t.Errorf("event %d has the number %s", n, e.Get("sequence_number").Raw)
		}
		n++
		if r := e.Get("response"); r.Exists() {
			if id != "" && id != r.Get("id").Str {
				t.Errorf("event %d is of %s, want %s", n-1, r.Get("id"), id)
			}
			id = r.Get("id").Str
		}
		switch e.Get("type").Str {
		case "response.completed", "response.incomplete", "response.failed":
			ends++
		}
	})
	if ends != 1 {
		t.Errorf("%d ends:\n%s", ends, stream)
	}
}
