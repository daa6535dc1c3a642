package providertest

import (
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
)

// entrance is an API whose requests the provider gets, and a request with much in it.
type entrance struct {
	name  string
	door  door.Door // nil for chat completions
	body  string
	asked []member
}

// member is something of a request: either the server sees one of the marks, or one of the
// names stands in X-Ai-Dropped.
type member struct {
	name, members string
	marks         []string
	names         []string
}

const (
	pdf       = `"JVBERi0="`
	failure   = "the tool has failed"
	strange   = "x-4711"
	unsigned  = `"thinking":"deep","signature":"cch1_e30"`
	bySchema  = `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`
	toolOf    = `{"name":"weather","description":"tells","input_schema":` + bySchema + `}`
	blocksOf  = `{"max_tokens":20000,"messages":[{"role":"user","content":[`
	callBlock = `{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"weather","input":{}}]}`
	callItem  = `{"role":"user","content":"hi"},{"type":"function_call","call_id":"call_1","name":"weather","arguments":"{}"}`
	callWith  = `{"role":"user","content":"hi"},{"role":"assistant","content":"so",`
	calledBy  = `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{}"}`
)

// lostThoughts are the names for reasoning that is left out.
var lostThoughts = []string{"messages.thinking_blocks", "messages.reasoning_content", "messages.content.thinking", "messages.content.redacted_thinking", "input.reasoning"}

var entrances = []entrance{
	{name: "chat", body: `{"model":"alias","max_tokens":99,"stream_options":{"include_usage":true},"messages":[{"role":"system","content":"be kind"},
		{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + pixel + `"}}]},
		{"role":"assistant","content":"so","tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_1","content":"sun"}],
		"tools":[{"type":"function","function":{"name":"weather","description":"tells","parameters":` + bySchema + `}}]}`,
		asked: []member{
			{"thinking blocks", `{"messages":[` + callWith + `"thinking_blocks":[{"type":"thinking","thinking":"deep","signature":"sig-1"}]},` + user + `]}`, []string{"sig-1"}, lostThoughts},
			{"redacted thinking", `{"messages":[` + callWith + `"thinking_blocks":[{"type":"redacted_thinking","data":"red-1"}]},` + user + `]}`, []string{"red-1"}, lostThoughts},
			{"thinking without a signature", `{"messages":[` + callWith + `"thinking_blocks":[{"type":"thinking","thinking":"deep"}]},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"reasoning", `{"messages":[` + callWith + `"reasoning_content":"deep"},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"reasoning of another model", `{"messages":[` + callWith + `"reasoning_content":"deep","extra_content":{"reasoning":{"model":"other"}}},` + user + `]}`, nil, lostThoughts},
			{"thinking blocks of its own", `{"messages":[` + callWith + `"extra_content":{"reasoning":{"model":"some-model"}},"thinking_blocks":[{"type":"thinking","thinking":"deep","signature":"sig-1"}]},` + user + `]}`, []string{"sig-1"}, lostThoughts},
			{"thinking blocks of another model", `{"messages":[` + callWith + `"extra_content":{"reasoning":{"model":"other"}},"thinking_blocks":[{"type":"redacted_thinking","data":"red-1"}]},` + user + `]}`, []string{"red-1"}, lostThoughts},
			{"a budget beside an effort", `{"reasoning_effort":"high","thinking":{"type":"enabled","budget_tokens":2000}}`, []string{`"budget_tokens":2000`}, []string{"thinking.budget_tokens"}},
			{"an effort beside a budget", `{"max_tokens":20000,"reasoning_effort":"medium","thinking":{"type":"enabled","budget_tokens":2000}}`, []string{"medium", "8192"}, []string{"reasoning_effort"}},
			{"details of reasoning", `{"messages":[` + callWith + `"reasoning_details":[{"type":"reasoning.text","text":"deep"}]},` + user + `]}`, []string{"deep"}, []string{"messages.reasoning_details"}},
			{"reasoning alone", `{"messages":[` + user + `,{"role":"assistant","content":null,"reasoning_content":"deep"},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"a signature of Google's", `{"messages":[` + callWith + calledBy + `,"extra_content":{"google":{"thought_signature":"sig-1"}}}]},{"role":"tool","tool_call_id":"call_1","content":"sun"}]}`, []string{"sig-1"}, []string{"messages.tool_calls.extra_content"}},
			{"thoughts of Bedrock's", `{"messages":[` + callWith + calledBy + `,"extra_content":{"bedrock":{"reasoning":[{"redactedContent":"red-1"}]}}}]},{"role":"tool","tool_call_id":"call_1","content":"sun"}]}`, []string{"red-1"}, []string{"messages.tool_calls.extra_content"}},
			{"a failed tool", `{"messages":[` + callWith + calledBy + `}]},{"role":"tool","tool_call_id":"call_1","is_error":true,"content":"bad"}]}`, []string{failure, `"is_error":true`, `"status":"error"`, `"error":"bad"`}, nil},
			{"a mark", contentOf1 + `{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}`, []string{"ephemeral"}, []string{"messages.content.cache_control"}},
			{"an image of the system", `{"messages":[{"role":"system","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + pixel + `"}}]},` + user + `]}`, []string{pixel}, []string{"messages.content"}},
			{"two names of a user", `{"user":"ann-1","safety_identifier":"ann-2"}`, []string{"ann-2"}, []string{"safety_identifier"}},
			{"a named file", contentOf1 + `{"type":"file","file":{"filename":"report","file_data":"data:application/pdf;base64,JVBERi0="}}]}]}`, []string{"report"}, []string{"messages.content.file"}},
			{"a description of a schema", `{"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"about-1","schema":` + bySchema + `}}}`, []string{"about-1"}, []string{"response_format"}},
		}},
	{name: "messages", door: messages.Door{}, body: `{"model":"alias","max_tokens":20000,"system":[{"type":"text","text":"be kind"}],"thinking":{"type":"enabled","budget_tokens":2000},"output_config":{"effort":"high"},"metadata":{"user_id":"u"},
		"messages":[{"role":"user","content":[{"type":"text","text":"look"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + pixel + `"}}]},
		{"role":"assistant","content":[{"type":"text","text":"so"},{"type":"tool_use","id":"call_1","name":"weather","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":[{"type":"text","text":"sun"}]}]}],
		"tools":[` + toolOf + `],"tool_choice":{"type":"auto"}}`,
		asked: []member{
			{"signed thinking", blocksOf + `{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"sig-1"},{"type":"text","text":"so"}]},` + user + `]}`, []string{"sig-1"}, lostThoughts},
			{"thinking alone", blocksOf + `{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"sig-1"}]},` + user + `]}`, []string{"sig-1"}, lostThoughts},
			{"thinking of another", blocksOf + `{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking",` + unsigned + `},{"type":"text","text":"so"}]},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"thinking of another model", blocksOf + `{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"` + door.Seal(map[string]string{"by": "other"}) + `"},{"type":"text","text":"so"}]},` + user + `]}`, nil, lostThoughts},
			{"thinking of another, broken", blocksOf + `{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"cch1_?"},{"type":"text","text":"so"}]},` + user + `]}`, nil, lostThoughts},
			{"a failed tool", `{"messages":[` + callBlock + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","is_error":true,"content":"bad"}]}]}`, []string{failure, `"is_error":true`, `"status":"error"`, `"error":"bad"`}, nil},
			{"a failed tool, in blocks", `{"messages":[` + callBlock + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","is_error":true,"content":[{"type":"text","text":"bad"},{"type":"text","text":"worse"}]}]}]}`, []string{failure, `"is_error":true`, `"status":"error"`, `"error":"bad`}, nil},
			{"a failed tool without words", `{"messages":[` + callBlock + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","is_error":true}]}]}`, []string{failure, `"is_error":true`, `"status":"error"`, `"error":""`}, nil},
			{"citations", blocksOf + `{"type":"document","citations":{"enabled":true},"source":{"type":"text","media_type":"text/plain","data":"words"}}]}]}`, nil, []string{"messages.content.citations"}},
			{"what a text has cited", `{"messages":[` + user + `,{"role":"assistant","content":[{"type":"text","text":"so","citations":[{"type":"char_location"}]}]},` + user + `]}`, nil, []string{"messages.content.citations"}},
			{"the context of a text", blocksOf + `{"type":"document","context":"about-1","source":{"type":"text","media_type":"text/plain","data":"words"}}]}]}`, []string{"about-1"}, nil},
			{"the context of a file", blocksOf + `{"type":"document","context":"about-1","source":{"type":"base64","media_type":"application/pdf","data":` + pdf + `}}]}]}`, []string{"about-1"}, []string{"messages.content"}},
			{"the title of a text", blocksOf + `{"type":"document","title":"title-1","source":{"type":"text","media_type":"text/plain","data":"words"}}]}]}`, []string{"title-1"}, nil},
			{"the title of a file", blocksOf + `{"type":"document","title":"title-1","source":{"type":"base64","media_type":"application/pdf","data":` + pdf + `}}]}]}`, []string{"title-1"}, []string{"messages.content.file"}},
			{"a document of blocks", blocksOf + `{"type":"document","source":{"type":"content","content":[{"type":"text","text":"words-1"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + pixel + `"}}]}}]}]}`, []string{pixel}, nil},
			{"a document by URL", blocksOf + `{"type":"document","source":{"type":"url","url":"https://example.com/a.pdf"}}]}]}`, []string{`"source":{"type":"url","url":"https://example.com/a.pdf"}`}, []string{"messages.content"}},
			{"a marked tool", `{"tools":[{"name":"weather","input_schema":` + bySchema + `,"cache_control":{"type":"ephemeral"}}]}`, []string{"ephemeral"}, []string{"tools.cache_control"}},
			{"a marked request", `{"cache_control":{"type":"ephemeral"}}`, []string{"ephemeral"}, []string{"cache_control"}},
			{"an eager tool", `{"tools":[{"name":"weather","input_schema":` + bySchema + `,"eager_input_streaming":true}]}`, nil, []string{"tools.eager_input_streaming"}},
			{"a tier", `{"service_tier":"standard_only"}`, []string{"standard_only"}, []string{"service_tier"}},
			{"a long user", `{"metadata":{"user_id":"{\"device\":\"d\"}"}}`, nil, []string{"metadata.user_id"}},
			{"a display", `{"thinking":{"type":"adaptive","display":"omitted"}}`, []string{"omitted"}, []string{"thinking"}},
			{"a budget beside an effort", `{"thinking":{"type":"enabled","budget_tokens":2000},"output_config":{"effort":"high"}}`, []string{`"budget_tokens":2000`}, []string{"thinking.budget_tokens"}},
			{"an effort beside a budget", `{"thinking":{"type":"enabled","budget_tokens":2000},"output_config":{"effort":"medium"}}`, []string{"medium", "8192"}, []string{"reasoning_effort"}},
			{"an effort beside adaptive thinking", `{"thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}}`, []string{"medium", "8192"}, []string{"reasoning_effort"}},
			{"no thinking", `{"thinking":{"type":"disabled"},"output_config":{}}`, []string{"disabled"}, []string{"thinking"}},
			{"billing", `{"system":[{"type":"text","text":"x-anthropic-billing-header: 1"}]}`, nil, []string{"system"}},
		}},
	{name: "responses", door: responses.Door{}, body: `{"model":"alias","max_output_tokens":99,"instructions":"be kind","reasoning":{"effort":"low"},"text":{"format":{"type":"json_schema","name":"n","schema":` + bySchema + `}},
		"input":[{"role":"user","content":[{"type":"input_text","text":"look"},{"type":"input_image","image_url":"data:image/png;base64,` + pixel + `"}]},
		{"type":"message","role":"assistant","content":[{"type":"output_text","text":"so"}]},{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
		{"type":"function_call","call_id":"call_1","name":"weather","arguments":"{}"},{"type":"function_call_output","call_id":"call_1","output":[{"type":"input_text","text":"sun"}]}],
		"tools":[{"type":"function","name":"weather","description":"tells","parameters":` + bySchema + `},{"type":"custom","name":"sh","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}]}`,
		asked: []member{
			{"sealed reasoning", `{"input":[` + user + `,{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"c2VhbGVk"},{"role":"assistant","content":"so"},` + user + `]}`, nil, lostThoughts},
			{"reasoning of another", `{"input":[` + user + `,{"type":"reasoning","summary":[],"encrypted_content":"` + door.Seal(map[string]string{"reasoning_content": "deep"}) + `"},{"role":"assistant","content":"so"},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"reasoning of another model", `{"input":[` + user + `,{"type":"reasoning","summary":[],"encrypted_content":"` + door.Seal(map[string]string{"reasoning_content": "deep", "by": "other"}) + `"},{"role":"assistant","content":"so"},` + user + `]}`, nil, lostThoughts},
			{"signed thinking of another", `{"input":[` + user + `,{"type":"reasoning","summary":[],"encrypted_content":"` + door.Seal(map[string]any{"thinking_blocks": []any{map[string]string{"type": "thinking", "thinking": "deep", "signature": "sig-1"}}}) + `"},{"role":"assistant","content":"so"},` + user + `]}`, []string{"sig-1"}, lostThoughts},
			{"reasoning of another, broken", `{"input":[` + user + `,{"type":"reasoning","summary":[],"encrypted_content":"cch1_?"},{"role":"assistant","content":"so"},` + user + `]}`, nil, lostThoughts},
			{"open reasoning", `{"input":[` + user + `,{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"deep"}]},{"role":"assistant","content":"so"},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"empty reasoning", `{"input":[` + user + `,{"type":"reasoning","id":"rs_1","summary":[]},{"role":"assistant","content":"so"},` + user + `]}`, nil, lostThoughts},
			{"reasoning alone", `{"input":[` + user + `,{"type":"reasoning","summary":[{"type":"summary_text","text":"deep"}]},` + user + `]}`, []string{"deep"}, lostThoughts},
			{"a reference to reasoning", `{"input":[` + user + `,{"type":"item_reference","id":"rs_1"},{"role":"assistant","content":"so"},` + user + `]}`, nil, []string{"input.item_reference"}},
			{"a reference without a type", `{"input":[` + user + `,{"id":"rs_1"},{"role":"assistant","content":"so"},` + user + `]}`, nil, []string{"input.item_reference"}},
			{"an older summary", `{"reasoning":{"effort":"low","generate_summary":"concise"}}`, nil, []string{"reasoning.generate_summary"}},
			{"log probabilities", `{"top_logprobs":3}`, nil, []string{"top_logprobs"}},
			{"sources", `{"input":[` + user + `,{"role":"assistant","content":[{"type":"output_text","text":"so","annotations":[{"type":"url_citation","url":"https://example.com"}]}]},` + user + `]}`, nil, []string{"input.content.annotations"}},
			{"a document by URL", `{"input":[{"role":"user","content":[{"type":"input_file","file_url":"https://example.com/a.pdf"}]}]}`, []string{`"source":{"type":"url","url":"https://example.com/a.pdf"}`}, []string{"messages.content"}},
			{"a file by id", `{"input":[{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]}]}`, nil, []string{"input.content.file_id"}},
			{"a built-in tool", `{"tools":[{"type":"web_search"}]}`, nil, []string{"tools.web_search"}},
			{"what is to be kept", `{"store":true}`, nil, []string{"store"}},
			{"the work of a tool", `{"input":[` + callItem + `,{"type":"function_call_output","call_id":"call_1","output":"sun"},{"type":"web_search_call","id":"ws_1","status":"completed"},` + user + `]}`, nil, []string{"input.web_search_call"}},
		}},
}
