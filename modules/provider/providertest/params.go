package providertest

const (
	weather    = `{"type":"function","function":{"name":"weather","description":"tells the weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}`
	tools      = `"tools":[` + weather + `]`
	user       = `{"role":"user","content":"hi"}`
	calls      = `{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bonn\"}"}},{"id":"call_2","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Köln\"}"}}]}`
	results    = `{"role":"tool","tool_call_id":"call_1","content":"sun"},{"role":"tool","tool_call_id":"call_2","content":"rain"}`
	pixel      = `iVBORw0KGgo=`
	schemaOf   = `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`
	contentOf1 = `{"messages":[{"role":"user","content":[`
)

// requestCases are all members of a chat completions request, see
// https://platform.openai.com/docs/api-reference/chat/create.
var requestCases = []requestCase{
	{name: "plain", members: `{}`},

	// the conversation
	{name: "system and developer", members: `{"messages":[{"role":"system","content":"be brief"},{"role":"developer","content":"be kind"},` + user + `]}`, param: "messages"},
	{name: "turns", members: `{"messages":[` + user + `,{"role":"assistant","content":"Grüße,\n\"you\" 🌍"},{"role":"user","content":"<more>"}]}`, param: "messages"},
	{name: "text parts", members: contentOf1 + `{"type":"text","text":"one"},{"type":"text","text":"two"}]}]}`, param: "messages"},
	{name: "image", members: contentOf1 + `{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + pixel + `"}}]}]}`, param: "messages.content"},
	{name: "image by URL", members: contentOf1 + `{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`, param: "messages.content"},
	{name: "image in detail", members: contentOf1 + `{"type":"image_url","image_url":{"url":"data:image/png;base64,` + pixel + `","detail":"high"}}]}]}`, param: "messages.content"},
	{name: "file", members: contentOf1 + `{"type":"text","text":"read"},{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0="}}]}]}`, param: "messages.content"},
	{name: "named file", members: contentOf1 + `{"type":"text","text":"read"},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}]}]}`, param: "messages.content"},
	{name: "file by id", members: contentOf1 + `{"type":"file","file":{"file_id":"file-1"}}]}]}`, param: "messages.content", stored: true},
	{name: "audio part", members: contentOf1 + `{"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}}]}]}`, param: "messages.content"},
	{name: "name of a user", members: `{"messages":[{"role":"user","name":"bob","content":"hi"}]}`, param: "messages.name"},
	{name: "name of a system", members: `{"messages":[{"role":"system","name":"rules","content":"be brief"},` + user + `]}`, param: "messages.name"},
	{name: "refusal in the past", members: `{"messages":[` + user + `,{"role":"assistant","content":null,"refusal":"I will not"},` + user + `]}`, param: "messages.refusal"},
	{name: "audio in the past", members: `{"messages":[` + user + `,{"role":"assistant","audio":{"id":"audio_1"}},` + user + `]}`, param: "messages.audio"},
	{name: "function call in the past", members: `{"messages":[` + user + `,{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},` + user + `]}`, param: "messages.function_call"},
	{name: "function result", members: `{"messages":[` + user + `,{"role":"function","name":"f","content":"1"}]}`, param: "messages.role"},

	// tools
	{name: "tools", members: `{"tools":[` + weather + `,{"type":"function","function":{"name":"now"}}]}`, param: "tools"},
	{name: "strict tool", members: `{"tools":[{"type":"function","function":{"name":"now","strict":true,"parameters":{"type":"object","properties":{},"required":[],"additionalProperties":false}}}]}`, param: "tools.function.strict"},
	{name: "combined parameters", members: `{"tools":[{"type":"function","function":{"name":"now","parameters":{"anyOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}}}]}`, param: "tools.function.parameters"},
	{name: "parameters of several types", members: `{"tools":[{"type":"function","function":{"name":"now","parameters":{"type":["object","null"],"properties":{"a":{"type":["string","null"]}}}}}]}`, param: "tools.function.parameters"},
	{name: "custom tool", members: `{"tools":[{"type":"custom","custom":{"name":"sh"}}]}`, param: "tools.type"},
	{name: "tool_choice auto", members: `{` + tools + `,"tool_choice":"auto"}`, param: "tool_choice"},
	{name: "tool_choice none", members: `{` + tools + `,"tool_choice":"none"}`, param: "tool_choice"},
	{name: "tool_choice required", members: `{` + tools + `,"tool_choice":"required"}`, param: "tool_choice"},
	{name: "tool_choice function", members: `{` + tools + `,"tool_choice":{"type":"function","function":{"name":"weather"}}}`, param: "tool_choice"},
	{name: "tool_choice allowed_tools", members: `{` + tools + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"weather"}}]}}}`, param: "tool_choice"},
	{name: "parallel_tool_calls", members: `{` + tools + `,"parallel_tool_calls":false}`, param: "parallel_tool_calls"},
	{name: "calls and results", members: `{` + tools + `,"messages":[` + user + `,` + calls + `,` + results + `,{"role":"user","content":"so?"}]}`, param: "messages"},
	{name: "calls and results without tools", members: `{"messages":[` + user + `,` + calls + `,` + results + `]}`, param: "messages"},
	{name: "functions", members: `{"functions":[{"name":"f","parameters":{}}]}`, param: "functions"},
	{name: "function_call", members: `{"function_call":"auto"}`, param: "function_call"},

	// limits and sampling
	{name: "max_tokens", members: `{"max_tokens":77}`, param: "max_tokens"},
	{name: "max_completion_tokens", members: `{"max_completion_tokens":77}`, param: "max_completion_tokens"},
	{name: "temperature", members: `{"temperature":0.25}`, param: "temperature"},
	{name: "temperature of 0", members: `{"temperature":0}`, param: "temperature"},
	{name: "temperature of 2", members: `{"temperature":2}`, param: "temperature"},
	{name: "top_p", members: `{"top_p":0.5}`, param: "top_p"},
	{name: "stop", members: `{"stop":"END"}`, param: "stop"},
	{name: "stop list", members: `{"stop":["END","FIN"]}`, param: "stop"},
	{name: "seed", members: `{"seed":7}`, param: "seed"},
	{name: "seed of 0", members: `{"seed":0}`, param: "seed"},
	{name: "large seed", members: `{"seed":9007199254740993}`, param: "seed"},
	{name: "frequency_penalty", members: `{"frequency_penalty":0.5}`, param: "frequency_penalty"},
	{name: "presence_penalty", members: `{"presence_penalty":-0.5}`, param: "presence_penalty"},
	{name: "logit_bias", members: `{"logit_bias":{"50256":-100}}`, param: "logit_bias"},
	{name: "n", members: `{"n":2}`, param: "n"},
	{name: "logprobs", members: `{"logprobs":true}`, param: "logprobs"},
	{name: "top_logprobs", members: `{"top_logprobs":2}`, param: "top_logprobs"},
	{name: "reasoning_effort", members: `{"reasoning_effort":"high"}`, param: "reasoning_effort"},
	{name: "no reasoning_effort", members: `{"reasoning_effort":"none"}`, param: "reasoning_effort"},
	{name: "verbosity", members: `{"verbosity":"low"}`, param: "verbosity"},

	// the form of the answer
	{name: "text", members: `{"response_format":{"type":"text"}}`, param: "response_format"},
	{name: "JSON", members: `{"response_format":{"type":"json_object"}}`, param: "response_format"},
	{name: "JSON by a schema", members: `{"response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":` + schemaOf + `}}}`, param: "response_format"},
	{name: "modalities", members: `{"modalities":["text","audio"]}`, param: "modalities"},
	{name: "audio", members: `{"audio":{"voice":"alloy","format":"wav"}}`, param: "audio"},
	{name: "prediction", members: `{"prediction":{"type":"content","content":"x"}}`, param: "prediction"},

	// who calls, and other side effects
	{name: "user", members: `{"user":"u-1"}`, param: "user"},
	{name: "safety_identifier", members: `{"safety_identifier":"s-1"}`, param: "safety_identifier"},
	{name: "metadata", members: `{"metadata":{"a":"b"}}`, param: "metadata"},
	{name: "store", members: `{"store":true}`, param: "store"},
	{name: "service_tier", members: `{"service_tier":"flex"}`, param: "service_tier"},
	{name: "prompt_cache_key", members: `{"prompt_cache_key":"k"}`, param: "prompt_cache_key"},
	{name: "prompt_cache_retention", members: `{"prompt_cache_retention":"24h"}`, param: "prompt_cache_retention"},
	{name: "web_search_options", members: `{"web_search_options":{}}`, param: "web_search_options"},
	{name: "unknown member", members: `{"x_unknown":{"a":1}}`, param: "x_unknown"},
}
