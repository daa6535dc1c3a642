package aigateway

import "testing"

// TestAsksToReason checks which requests are taken to ask for reasoning.
func TestAsksToReason(t *testing.T) {
	for members, want := range map[string]bool{
		``:                                                   false,
		`"reasoning_effort":"high"`:                          true,
		`"reasoning_effort":"low"`:                           true,
		`"reasoning_effort":"minimal"`:                       false,
		`"reasoning_effort":"none"`:                          false,
		`"reasoning_effort":null`:                            false,
		`"reasoning":{"effort":"high"}`:                      true,
		`"reasoning":{"max_tokens":2000}`:                    true,
		`"reasoning":{"enabled":true}`:                       true,
		`"reasoning":{"enabled":false,"effort":"high"}`:      false,
		`"reasoning":{"effort":"none"}`:                      false,
		`"reasoning":{"exclude":true}`:                       false,
		`"reasoning":{}`:                                     false,
		`"reasoning":true`:                                   true,
		`"thinking":{"type":"enabled","budget_tokens":1024}`: true,
		`"thinking":{"type":"adaptive"}`:                     true,
		`"thinking":{"type":"disabled"}`:                     false,
		`"thinking":{"budget_tokens":1024}`:                  true,
		`"thinking":null`:                                    false,
		`"enable_thinking":true`:                             true,
		`"enable_thinking":false`:                            false,
		`"thinking_budget":1024`:                             true,
		`"thinking_budget":-1`:                               true,
		`"thinking_budget":0`:                                false,
		`"think":true`:                                       true,
		`"think":"high"`:                                     true,
		`"think":false`:                                      false,
		`"chat_template_kwargs":{"enable_thinking":true}`:    true,
		`"chat_template_kwargs":{"thinking":true}`:           true,
		`"chat_template_kwargs":{"enable_thinking":false}`:   false,
		`"chat_template_kwargs":{"reasoning_effort":"high"}`: true,
		`"extra_body":{"google":{"thinking_config":{"thinking_budget":1024}}}`:                   true,
		`"extra_body":{"google":{"thinking_config":{"thinking_budget":0,"include_thoughts":1}}}`: false,
		`"extra_body":{"enable_thinking":true}`:                                                  true,
		`"extra_body":{"a":1}`:                                                                   false,
		`"messages":[{"role":"user","content":"reasoning_effort","reasoning_effort":"high"}]`:    false,
	} {
		body := `{"messages":[{"role":"user","content":"hi"}]`
		if members != "" {
			body += "," + members
		}
		if got, _ := membersOf([]byte(body + "}")); got.reasons != want {
			t.Errorf("%s: %v, want %v", members, got.reasons, want)
		}
	}
}
