package providertest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// askedOf returns a request of Responses with more members, or others in their place.
func askedOf(t *testing.T, members string) []byte {
	return []byte(with(t, `{"model":"gpt-5","store":false,"input":[{"role":"user","content":"hi"}]}`, members))
}

// TestRefuseResponse has requests that OpenAI refuses. The words are those of its own
// refusals where these are public.
func TestRefuseResponse(t *testing.T) {
	const (
		call   = `{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"}`
		output = `{"type":"function_call_output","call_id":"c1","output":"1"}`
		sealed = `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"` + sealedReasoning + `"}`
		said   = `{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"a","annotations":[]}]}`
		user   = `{"role":"user","content":"hi"}`
	)
	input := func(items ...string) string { return `{"input":[` + strings.Join(items, ",") + `]}` }
	part := func(part string) string { return input(`{"role":"user","content":[` + part + `]}`) }
	for members, want := range map[string]string{
		`{"max_tokens":100}`:                                           "unknown_parameter max_tokens: Unknown parameter: 'max_tokens'.",
		`{"messages":[]}`:                                              "unknown_parameter messages: ",
		`{"stream_options":{"include_usage":true}}`:                    "unknown_parameter stream_options.include_usage: ",
		`{"stream_options":{"include_obfuscation":false}}`:             " stream_options: ",
		`{"max_output_tokens":10}`:                                     "integer_below_min_value max_output_tokens: Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 10 instead.",
		`{"max_output_tokens":16.5}`:                                   "invalid_type max_output_tokens: ",
		`{"model":"gpt-4o","temperature":2.1}`:                         "decimal_above_max_value temperature: ",
		`{"temperature":1}`:                                            " temperature: Unsupported parameter: 'temperature' is not supported with this model.",
		`{"top_logprobs":21}`:                                          "integer_above_max_value top_logprobs: ",
		`{"metadata":{"a":1}}`:                                         "invalid_type metadata.a: ",
		`{"include":["usage"]}`:                                        "invalid_value include[0]: ",
		`{"model":"gpt-4o","include":["reasoning.encrypted_content"]}`: " include: Encrypted content is not supported with this model.",
		`{"reasoning":{"effort":"most"}}`:                              "invalid_value reasoning.effort: ",
		`{"previous_response_id":"resp_1"}`:                            "previous_response_not_found previous_response_id: ",
		`{"store":true}`:                                               " store: ",

		`{"text":{"format":{"type":"json_schema","json_schema":{"name":"a","schema":{}}}}}`:                       "unknown_parameter text.format.json_schema: ",
		`{"text":{"format":{"type":"json_schema","schema":{}}}}`:                                                  "missing_required_parameter text.format.name: ",
		`{"text":{"format":{"type":"json_schema","name":"a","strict":true,"schema":{"type":"object"}}}}`:          "invalid_json_schema text.format.schema: ",
		`{"text":{"format":{"type":"json_object"}}}`:                                                              " input: ",
		`{"tools":[{"type":"function","function":{"name":"f"}}]}`:                                                 "unknown_parameter tools[0].function: ",
		`{"tools":[{"type":"function"}]}`:                                                                         "missing_required_parameter tools[0].name: ",
		`{"tools":[{"type":"function","name":"a b"}]}`:                                                            "invalid_value tools[0].name: Invalid 'tools[0].name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
		`{"tools":[{"type":"function","name":"f","parameters":{}}]}`:                                              "invalid_function_parameters tools[0].parameters: ",
		`{"tools":[{"type":"function","name":"f","strict":true,"parameters":{"type":"object","properties":{}}}]}`: "invalid_function_parameters tools[0].parameters: ",
		`{"tools":[{"type":"custom","name":"f","format":{"type":"grammar","syntax":"ebnf","definition":""}}]}`:    "invalid_value tools[0].format.syntax: ",
		`{"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}]}`:                    "missing_required_parameter tools[0].description: ",
		`{"tools":[{"type":"teleport"}]}`:                                                                         "invalid_value tools[0]: Invalid value: 'teleport'. Supported values are: ",
		`{"tools":[{"type":"code_interpreter"}]}`:                                                                 "missing_required_parameter tools[0].container: ",
		`{"tool_choice":"any"}`:      "invalid_value tool_choice: ",
		`{"tool_choice":"required"}`: " tool_choice: ",
		`{"tool_choice":{"type":"function","function":{"name":"f"}},"tools":[{"type":"function","name":"f"}]}`:                     "unknown_parameter tool_choice.function: ",
		`{"tool_choice":{"type":"function","name":"g"},"tools":[{"type":"function","name":"f"}]}`:                                  " tool_choice: Tool choice 'g' not found in 'tools' parameter.",
		`{"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"web_search"}]}}`:                                   " tool_choice: Tool choice 'web_search' not found in 'tools' parameter.",
		`{"tools":[{"type":"namespace","name":"n","description":"d","tools":[{"type":"function","name":"f"}]}],` + input(call)[1:]: " input[0].namespace: Missing namespace for function_call 'f'. It does not exist in the default namespace.",
		input(`{"type":"message","content":"hi"}`):                                                                                 "missing_required_parameter input[0].role: ",
		input(`{"role":"tool","content":"hi"}`):                                                                                    "invalid_value input[0].role: ",
		input(`{"type":"tool_call"}`):                                                                                              "invalid_value input[0]: ",
		input(`{"role":"assistant","content":[{"type":"input_text","text":"a"}]}`):                                                 "invalid_value input[0].content[0]: Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
		input(`{"role":"system","content":[{"type":"text","text":"a"}]}`):                                                          "invalid_value input[0].content[0]: ",
		part(`{"type":"image_url","image_url":{"url":"https://x.test/a.png"}}`):                                                    "invalid_value input[0].content[0]: ",
		part(`{"type":"input_image","image_url":{"url":"https://x.test/a.png"}}`):                                                  "invalid_type input[0].content[0].image_url: ",
		part(`{"type":"input_image","image_url":"` + pixel + `"}`):                                                                 "invalid_value input[0].content[0].image_url: ",
		part(`{"type":"input_image"}`):                                                                                             "missing_required_parameter input[0].content[0].image_url: ",
		part(`{"type":"input_file","filename":"a.pdf"}`):                                                                           "missing_required_parameter input[0].content[0].file_id: ",
		part(`{"type":"input_file","filename":"a.pdf","file_data":"JVBE"}`):                                                        "invalid_value input[0].content[0].file_data: ",
		input(`{"type":"function_call","call_id":"c1","name":"f"}`):                                                                "missing_required_parameter input[0].arguments: Missing required parameter: 'input[0].arguments'.",
		input(`{"type":"function_call","call_id":"c1","name":"f","arguments":{}}`):                                                 "invalid_type input[0].arguments: ",
		input(`{"type":"function_call","call_id":"` + strings.Repeat("c", 65) + `","name":"f","arguments":"{}"}`):                  "string_above_max_length input[0].call_id: Invalid 'input[0].call_id': string too long. Expected a string with maximum length 64, but got a string with length 65 instead.",
		input(`{"type":"function_call","id":"call_1","call_id":"c1","name":"f","arguments":"{}"}`):                                 "invalid_id_prefix input[0].id: Invalid 'input[0].id': 'call_1'. Expected an ID that begins with 'fc'.",
		input(`{"role":"assistant","id":"","content":"a"}`):                                                                        "invalid_value input[0].id: Invalid 'input[0].id': ''. Expected an ID that contains letters, numbers, underscores, or dashes, but this value contained additional characters.",
		input(call):         " input: No tool output found for function call c1.",
		input(output):       " input: No tool call found for function call output with call_id c1.",
		input(output, call): " input: No tool call found for function call output with call_id c1.",
		input(call, `{"type":"custom_tool_call_output","call_id":"c1","output":"1"}`): " input: No tool call found for custom tool call output with call_id c1.",
		input(call, `{"type":"function_call_output","call_id":"c1"}`):                 "missing_required_parameter input[1].output: ",
		input(call, `{"type":"function_call_output","call_id":"c1","output":{}}`):     "invalid_type input[1].output: ",
		input(said, said):   " input: Duplicate item found with id msg_1. Remove duplicate items from your input and try again.",
		input(sealed):       " input: Item 'rs_1' of type 'reasoning' was provided without its required following item.",
		input(sealed, user): " input: Item 'rs_1' of type 'reasoning' was provided without its required following item.",
		input(`{"type":"reasoning","id":"rs_1","encrypted_content":"x"}`):                                        "missing_required_parameter input[0].summary: ",
		input(`{"type":"reasoning","id":"rs_1","summary":[],"status":"completed"}`):                              "unknown_parameter input[0].status: Unknown parameter: 'input[0].status'.",
		input(`{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}`): "array_above_max_length input[0].content: Invalid 'input[0].content': array too long. Expected an array with maximum length 0, but got an array with length 1 instead.",
		input(`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"foreign"}`, said):               "invalid_encrypted_content : The encrypted content fore...eign could not be verified.",
		input(`{"type":"reasoning","id":"rs_1","summary":[]}`, said):                                             " input: Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
		input(`{"type":"item_reference","id":"msg_1"}`):                                                          " input: Item with id 'msg_1' not found. Items are not persisted when `store` is set to false.",
		input(`{"type":"shell_call_output","call_id":"c","output":[]}`):                                          " input: No tool call found for shell call output with call_id c.",
		input(`{"type":"code_interpreter_call","id":"ci_1","code":"1","container_id":"c","status":"completed"}`): "missing_required_parameter input[0].outputs: ",
	} {
		refused := RefuseResponse(askedOf(t, members))
		if refused == nil {
			t.Errorf("%s is taken", members)
			continue
		}
		if got := refused.Code + " " + refused.Param + ": " + refused.Message; !strings.HasPrefix(got, want) {
			t.Errorf("%s\n got %s\nwant %s", members, got, want)
		}
		if notFound := strings.Contains(want, "Item with id"); notFound != (refused.Status == http.StatusNotFound) {
			t.Errorf("%s gets %d", members, refused.Status)
		}
	}
}

// TestTakeResponse has requests that clients send to OpenAI.
func TestTakeResponse(t *testing.T) {
	for name, members := range map[string]string{
		"Codex": `{"stream":true,"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"medium","summary":"auto","context":"all_turns"},"include":["reasoning.encrypted_content"],
			"prompt_cache_key":"019b2889-d0f2-7713-8046-20bdf342d5d7","client_metadata":{"a":"b"},"text":{"verbosity":"low"},"tools":[
			{"type":"function","name":"exec_command","description":"d","strict":false,"parameters":{"type":"object","properties":{"cmd":{"type":"string"}},"required":["cmd"],"additionalProperties":false}},
			{"type":"custom","name":"apply_patch","description":"d","format":{"type":"grammar","syntax":"lark","definition":"start: /x/"}},
			{"type":"namespace","name":"multi_agent_v1","description":"d","tools":[{"type":"function","name":"spawn","description":"d","strict":false,"parameters":{"type":"object","properties":{}}}]},
			{"type":"web_search","external_web_access":true},{"type":"tool_search","execution":"client","description":"d","parameters":{"type":"object"}}],
			"input":[{"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"functions","description":"d","tools":[{"type":"custom","name":"exec"}]}]},
			{"type":"message","id":"msg_0","role":"developer","content":[{"type":"input_text","text":"s"}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"u"}]},
			{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"content":null,"encrypted_content":"` + sealedReasoning + `"},
			{"type":"message","id":"msg_1","role":"assistant","status":"completed","phase":"commentary","content":[{"type":"output_text","text":"a"}]},
			{"type":"custom_tool_call","id":"ctc_1","call_id":"c1","name":"exec","namespace":"functions","input":"x","status":"completed"},
			{"type":"function_call","id":"fc_1","call_id":"c2","name":"spawn","namespace":"multi_agent_v1","arguments":"{}","status":"completed"},
			{"type":"custom_tool_call_output","call_id":"c1","output":"Chunk"},{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"x"}]}]}`,
		"an image and a file": `{"input":[{"role":"user","content":[{"type":"input_image","image_url":"https://x.test/a.png","detail":"low"},
			{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"},{"type":"input_file","file_url":"https://x.test/a.pdf"}]}]}`,
		"an answer by a schema": `{"model":"gpt-4o","input":"hi","temperature":0.5,"max_output_tokens":16,"metadata":{"a":"b"},"user":"u","truncation":"auto","service_tier":"flex",
			"text":{"format":{"type":"json_schema","name":"a","strict":true,"schema":{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{},"additionalProperties":false}}},"required":["a"],"additionalProperties":false}}}}`,
		"a chosen tool":      `{"tools":[{"type":"function","name":"f","parameters":null},{"type":"web_search"}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}}`,
		"a search of before": `{"input":[{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"x"}},{"role":"user","content":"and?"}]}`,
		"an image of before": `{"input":[{"type":"image_generation_call","id":"ig_1","status":"completed","result":"` + pixel + `"},{"role":"user","content":"and?"}]}`,
		"thought twice":      `{"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"` + sealedReasoning + `"},{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"` + sealedReasoning + `"},{"role":"assistant","content":"a"}]}`,
	} {
		if refused := RefuseResponse(askedOf(t, members)); refused != nil {
			t.Errorf("%s: %v", name, refused)
		}
	}
}

// TestResponseEvents checks what the server streams: in which order, and that clients may
// rely on it.
func TestResponseEvents(t *testing.T) {
	body := askedOf(t, `{"include":["reasoning.encrypted_content"],"reasoning":{"summary":"auto"},"tools":[{"type":"function","name":"f"},{"type":"custom","name":"x"}]}`)
	reasoning := "reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done"
	const begin, added, done = "created in_progress", " output_item.added ", " output_item.done"
	parts := []Part{{Reasoning: "hm"}, {Text: "He"}, {Text: "llo"}, {Call: 1, ID: "c1", Name: "f", Arguments: "{"}, {Call: 2, ID: "c2", Name: "x", Arguments: "free"}, {Call: 1, Arguments: "}"}}
	all := begin + added + reasoning + done + added + "content_part.added output_text.delta output_text.delta output_text.done content_part.done" + done +
		added + "function_call_arguments.delta function_call_arguments.delta function_call_arguments.done" + done +
		added + "custom_tool_call_input.delta custom_tool_call_input.done" + done
	for finish, end := range map[string]string{"tool_calls": " completed", "length": " incomplete", "content_filter": " incomplete", "failed": " error failed"} {
		stream := join(ResponseEvents(body, Reply{Model: "gpt-5", Parts: parts, Finish: finish, Usage: &provider.Usage{Input: 9, Output: 7, Cached: 4, Reasoning: 3}}))
		var types []string
		var last gjson.Result
		events(stream, func(e gjson.Result) {
			types = append(types, strings.TrimPrefix(e.Get("type").Str, "response."))
			last = e.Get("response")
		})
		if got := strings.Join(types, " "); got != all+end {
			t.Errorf("%s: got\n%s\nwant\n%s", finish, got, all+end)
		}
		checkEvents(t, stream)
		checkResponse(t, last)
		if finish == "failed" {
			continue
		}
		for i, typ := range []string{"reasoning", "message", "function_call", "custom_tool_call"} {
			if item := last.Get("output").Array()[i]; item.Get("type").Str != typ || typ == "reasoning" && item.Get("encrypted_content").Str == "" {
				t.Errorf("%s: item %d is %s", finish, i, item)
			}
		}
	}
}
