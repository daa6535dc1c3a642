package providertest

import "testing"

// defaults are members with the value that OpenAI takes them to have if they are
// not there.
var defaults = []string{
	`{"n":1}`,
	`{"n":null}`,
	`{"max_tokens":null,"max_completion_tokens":null,"temperature":null,"top_p":null,"seed":null}`,
	`{"frequency_penalty":null,"presence_penalty":null}`,
	`{"logit_bias":{}}`,
	`{"logit_bias":null}`,
	`{"logprobs":false,"top_logprobs":0}`,
	`{"top_logprobs":0}`,
	`{"logprobs":null,"top_logprobs":null}`,
	`{"stop":null}`,
	`{"stop":[]}`,
	`{"stop":""}`,
	`{"tools":[]}`,
	`{"tools":[],"tool_choice":"none"}`,
	`{"tools":null,"tool_choice":null,"parallel_tool_calls":null}`,
	`{"tool_choice":"none"}`,
	`{"tool_choice":"auto"}`,
	`{"parallel_tool_calls":true}`,
	`{"functions":[],"function_call":"none"}`,
	`{"response_format":{"type":"text"}}`,
	`{"response_format":null}`,
	`{"modalities":["text"]}`,
	`{"modalities":null,"audio":null,"prediction":null}`,
	`{"stream":false,"stream_options":null}`,
	`{"store":false,"metadata":{}}`,
	`{"store":null,"metadata":null}`,
	`{"user":""}`,
	`{"user":null,"safety_identifier":null,"prompt_cache_key":null}`,
	`{"service_tier":"auto"}`,
	`{"service_tier":"default"}`,
	`{"verbosity":"medium"}`,
	`{"reasoning_effort":null,"verbosity":null}`,
}

// zeros may differ from the default that an operator has set for a model, so they
// may travel.
const zeros = `{"frequency_penalty":0,"presence_penalty":0}`

// saysNothing checks that a member with its default value is as good as none,
// whether the provider supports it or not.
func (s *subject) saysNothing(t *testing.T) {
	if s.Bodies == nil {
		t.Skip("the body goes to the server as it is")
	}
	for _, members := range append(defaults, zeros) {
		req := s.request(with(t, plainBody, members))
		if _, err := s.Complete(t.Context(), req); err != nil || len(req.Dropped) > 0 {
			t.Errorf("%s: failed with %v and dropped %q", members, err, req.Dropped)
			s.forget()
			continue
		}
		_, body := s.sent(t)
		if members == zeros {
			continue
		}
		sameJSON(t, body, s.native(t, plainBody, ""))
		if t.Failed() {
			t.Fatalf("asked with %s", members)
		}
	}
}
