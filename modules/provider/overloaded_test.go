package provider

import "testing"

// TestOverloaded has failures told with a status, and with 0 within an answer.
func TestOverloaded(t *testing.T) {
	const anthropic = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`
	for _, tc := range []struct {
		name   string
		status int
		told   string
		want   bool
	}{
		{"Anthropic", 529, anthropic, true},
		{"Anthropic in a stream", 0, anthropic, true},
		{"Anthropic with a status of its own accord", 500, anthropic, true},
		{"Anthropic without a status", 529, ``, true},
		{"OpenAI", 503, `{"error":{"message":"The engine is currently overloaded","type":"server_error"}}`, true},
		{"OpenAI in a response", 0, `{"type":"error","error":{"message":"x","code":"server_is_overloaded"}}`, true},
		{"OpenAI, too fast", 0, `{"error":{"message":"x","code":"slow_down"}}`, true},
		{"a status in a stream", 0, `{"error":{"message":"x","code":503}}`, true},
		{"Gemini", 503, `{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}`, true},
		{"Gemini in a stream", 0, `[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]`, true},
		{"Gemini without a status", 0, `{"error":{"message":"x","status":"UNAVAILABLE"}}`, true},
		{"a proxy", 503, `<html>`, true},

		{"a fault", 500, `{"error":{"message":"overloaded with words","type":"server_error"}}`, false},
		{"a fault in a stream", 0, `{"error":{"message":"x","type":"api_error"}}`, false},
		{"a proxy without a server", 502, `{"error":{"message":"x","type":"overloaded_error"}}`, false},
		{"a server that takes too long", 504, ``, false},
		{"a conflict", 409, `{"error":{"code":"overloaded"}}`, false},
		{"a limit", 429, `{"error":{"message":"x","type":"engine_overloaded_error"}}`, false},
		{"a bad request", 400, `{"error":{"message":"x","code":"overloaded"}}`, false},
	} {
		if got := NewError(tc.status, []byte(tc.told)).Overloaded; got != tc.want {
			t.Errorf("%s: %t", tc.name, got)
		}
	}
	for finish, want := range map[string]bool{"overloaded": true, "error": false} {
		f, _ := ParseChunk([]byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"` + finish + `"}]}`))
		if f.Failure == nil || f.Failure.Overloaded != want {
			t.Errorf("the finish reason %s: %+v", finish, f.Failure)
		}
	}
	f, _ := ParseChunk([]byte(`{"choices":[{"index":0,"delta":{},"error":{"code":503,"message":"x"}}]}`))
	if f.Failure == nil || !f.Failure.Overloaded {
		t.Errorf("in a choice: %+v", f.Failure)
	}
}
