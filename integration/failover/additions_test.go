package failover

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// refusesMember answers as do does, unless the request has a member.
func refusesMember(path string, refusal, do harness.Script) harness.Script {
	return func(c *harness.Call) {
		if c.Get(path).Exists() {
			refusal(c)
			return
		}
		do(c)
	}
}

// uncounted is an answer without a usage, from a server that does not know
// stream_options.
func uncounted(c *harness.Call) {
	if !c.Streams() {
		harness.Says(7, 3, "Hello")(c)
		return
	}
	c.Send(c.Role(), c.Text("Hello"), c.Finish("stop"), harness.EndMark)
}

// TestRefusedAddition has servers refuse stream_options, which the gateway adds to
// every stream to learn its usage.
func TestRefusedAddition(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient + "\nretries 0\npassthrough"})

	for i, tc := range []struct {
		name    string
		refusal harness.Script
	}{
		{"OpenAI", told(400, `"Unrecognized request argument supplied: stream_options"`, `,"type":"invalid_request_error","param":null,"code":null`)},
		{"by the param", told(400, `"unknown parameter"`, `,"param":"stream_options","code":"unknown_parameter"`)},
		{"pydantic 2", harness.Document(422, `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":{"include_usage":true}}]}`)},
		{"pydantic 1", harness.Document(422, `{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted","type":"value_error.extra"}]}`)},
		{"vLLM", harness.Document(400, `{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]","type":"BadRequestError","param":null,"code":400}`)},
		{"include_usage alone", harness.Document(400, `{"error":"stream_options.include_usage is not supported"}`)},
		{"Go", harness.Document(400, `{"error":"json: unknown field \"stream_options\""}`)},
		{"Rust, as text", harness.Document(422, "Failed to deserialize the JSON body into the target type: unknown field `stream_options`, expected one of `model`, `messages`", "Content-Type", "text/plain")},
		{"in the stream", harness.Sends("data: {\"error\":{\"message\":\"Unrecognized request argument supplied: stream_options\",\"type\":\"invalid_request_error\",\"code\":400}}\n\n")},
		{"in a document with status 200", harness.Document(200, `{"error":{"message":"unknown field: stream_options","type":"invalid_request_error","code":400}}`)},
		{"without a name", harness.Document(400, `{"error":{"message":"extra fields not permitted"}}`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			model := fmt.Sprintf("one/m-%d", i)
			one.Plays(refusesMember("stream_options", tc.refusal, uncounted))
			before := one.Count()
			first := s.try(t, harness.NewQuestion(model).Streamed())
			first.WantText(t, "Hello")
			first.wantCalls(t, 2, 0)
			harness.WantHeader(t, first.Header, map[string]string{"X-Ai-Attempts": "2"})
			if first.logged["tokens_out"] != 2.0 {
				t.Errorf("%v tokens are logged, want an estimate", first.logged["tokens_out"])
			}
			asked := one.Requests()[before:]
			if !asked[0].Get("stream_options.include_usage").Bool() || gjson.Get(asked[1].Body, "messages").Raw != gjson.Get(asked[0].Body, "messages").Raw {
				t.Errorf("the target got %s and %s", asked[0].Body, asked[1].Body)
			}
			// it is remembered for the target, and for no other
			again := s.try(t, harness.NewQuestion(model).Streamed())
			again.WantText(t, "Hello")
			again.wantCalls(t, 1, 0)
			other := s.try(t, harness.NewQuestion(model+"-other").Streamed())
			other.wantCalls(t, 2, 0)
			// a document never had it
			whole := s.try(t, harness.NewQuestion(model+"-whole"))
			whole.WantText(t, "Hello")
			whole.wantCalls(t, 1, 0)
		})
	}

	refusal := told(400, `"upstream-words: Unrecognized request argument supplied: stream_options"`, "")
	t.Run("/chat", func(t *testing.T) {
		one.Plays(refusesMember("stream_options", refusal, uncounted))
		tn := s.turn(t)
		tn.wantStored(t, s.Globex, "Hello")
		tn.wantCalls(t, 2, 0)
	})
	t.Run("a client's own is its mistake", func(t *testing.T) {
		one.Plays(refusesMember("stream_options", refusal, uncounted))
		tr := s.try(t, harness.NewQuestion("one/own").WithUsage())
		tr.WantRefused(t, http.StatusBadRequest, "invalid_request")
		harness.WantReason(t, tr.Error, true)
		tr.wantCalls(t, 1, 0)
	})
	t.Run("a client's own stays", func(t *testing.T) {
		one.Plays(refusesMember("stream_options.include_usage", told(400, `"unknown field include_usage"`, ""), uncounted))
		q := harness.NewQuestion("one/part").Streamed()
		q.StreamOptions = map[string]any{"include_obfuscation": false}
		tr := s.try(t, q)
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 2, 0)
		if got := one.Last().Get("stream_options").Raw; got != `{"include_obfuscation":false}` {
			t.Errorf("the target got %s", got)
		}
	})
	t.Run("another member is the client's mistake", func(t *testing.T) {
		one.Plays(told(400, `"upstream-words: Unrecognized request argument supplied: foo"`, ""))
		tr := s.try(t, harness.NewQuestion("one/foo").Streamed())
		tr.WantRefused(t, http.StatusBadRequest, "invalid_request")
		tr.wantCalls(t, 1, 0)
	})
	t.Run("what else is wrong is the client's mistake", func(t *testing.T) {
		one.Plays(refusesMember("stream_options", refusal, told(400, `"upstream-words: bad"`, `,"code":"bad_value"`)))
		for range 2 { // nothing is learnt from a refusal
			tr := s.try(t, harness.NewQuestion("one/bad").Streamed())
			tr.WantRefused(t, http.StatusBadRequest, "bad_value")
			tr.wantCalls(t, 2, 0)
		}
	})
	t.Run("a server that refuses it always", func(t *testing.T) {
		one.Plays(refusal)
		tr := s.try(t, harness.NewQuestion("one/always").Streamed())
		tr.WantRefused(t, http.StatusBadRequest, "invalid_request")
		tr.wantCalls(t, 2, 0)
	})
}

// TestRefusedAdditionOfBudget has documents streamed upstream because of a budget:
// the stream, too, is an addition.
func TestRefusedAdditionOfBudget(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{
		Targets: targets, Gateway: harness.Patient + "\nretries 0\npassthrough",
		Tenants: "chat {\ntenant globex {\nbudget 1000000 tokens/day\n}\n}\n",
	})
	for name, tc := range map[string]struct {
		do    harness.Script
		calls int
	}{
		"stream_options": {refusesMember("stream_options", told(400, `"unknown field: stream_options"`, ""), uncounted), 2},
		"stream":         {refusesMember("stream", told(400, `"Unsupported value: 'stream' does not support true with this model."`, `,"param":"stream"`), uncounted), 2},
		"both": {refusesMember("stream_options", told(400, `"unknown field: stream_options"`, ""),
			refusesMember("stream", told(400, `"streaming is not available"`, ""), uncounted)), 3},
	} {
		t.Run(name, func(t *testing.T) {
			one.Plays(tc.do)
			tr := s.try(t, harness.NewQuestion("one/"+name))
			tr.WantText(t, "Hello")
			tr.wantCalls(t, tc.calls, 0)
			tr = s.try(t, harness.NewQuestion("one/"+name))
			tr.WantText(t, "Hello")
			tr.wantCalls(t, 1, 0)
		})
	}
	t.Run("a client's own stream is its mistake", func(t *testing.T) {
		one.Plays(told(400, `"upstream-words: streaming is not available"`, ""))
		tr := s.try(t, harness.NewQuestion("one/own").Streamed())
		tr.WantRefused(t, http.StatusBadRequest, "invalid_request")
		tr.wantCalls(t, 1, 0)
	})
}

// TestRefusedAdditionInRescue has the target of a rescue refuse stream_options.
func TestRefusedAdditionInRescue(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	targets[0].Plays(harness.Steps(harness.Begins("Hel"), harness.EOF), harness.Refuses(500, "x"))
	targets[1].Plays(refusesMember("stream_options", told(400, `"unknown field: stream_options"`, ""), uncounted))
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient + "\nretries 0"})
	tr := s.try(t, harness.NewQuestion("fast").Streamed())
	tr.WantText(t, "Hello")
	tr.wantCalls(t, 2, 2)
}
