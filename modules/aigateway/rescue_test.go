package aigateway

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestRescue(t *testing.T) {
	t.Run("several_choices_are_never_spliced", func(t *testing.T) {
		both := []step{chunk(`[{"index":0,"delta":{"content":"a"}}]`, ""), chunk(`[{"index":1,"delta":{"content":"b"}}]`, "")}
		one := &script{replies: []reply{streams(both[0]), streams(append(both, chunk(`[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"stop"}]`, ""), end)...)}}
		a := ask(t, newGateway(t, `{}`, one), `{"messages":[{"role":"user","content":"hi"}],"stream":true,"n":2}`)
		a.wantCut(t, "a", "ai_error")
		wantCalls(t, []*script{one}, 1)
	})
	t.Run("a_choice_that_has_not_finished_is_cut", func(t *testing.T) {
		one := &script{replies: []reply{streams(chunk(`[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]`, ""), chunk(`[{"index":1,"delta":{"content":"b"}}]`, ""))}}
		a := ask(t, newGateway(t, `{}`, one), `{"messages":[{"role":"user","content":"hi"}],"stream":true,"n":2}`)
		if a.done || a.code != "ai_error" {
			t.Errorf("end mark %v, error %q", a.done, a.code)
		}
	})
	t.Run("the_usage_is_that_of_the_second_answer", func(t *testing.T) {
		counting := chunk(`[{"index":0,"delta":{"content":"Once "}}]`, `,"usage":{"prompt_tokens":70,"completion_tokens":50}`)
		one := &script{replies: []reply{streams(counting), says("Once ", "upon")}}
		a := ask(t, newGateway(t, `{}`, one), streamed)
		a.wantWhole(t, "Once upon")
		u := a.frames[len(a.frames)-1].Get("usage")
		if u.Get("prompt_tokens").Int() != 8 || u.Get("completion_tokens").Int() != 3 || !u.Get("estimated").Bool() {
			t.Errorf("usage %s", u)
		}
	})
	t.Run("what_is_wrong_with_a_request_is_told_before_the_answer_only", func(t *testing.T) {
		for _, reason := range []provider.Reason{provider.ReasonInvalid, provider.ReasonModel, provider.ReasonContextLength} {
			wrong := func(context.Context) (*provider.Chunk, error) { return nil, &provider.Error{Reason: reason} }
			one := &script{replies: []reply{streams(text("Once "), wrong)}}
			h, err := loadGateway(t, `{}`, `{"providers":{"one":{"type":"echo"}}}`, 0)
			if err != nil {
				t.Fatal(err)
			}
			h.providers["one"] = one
			a := ask(t, h, `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`)
			a.wantCut(t, "Once ", "ai_error")
		}
	})
}

// TestContinueWithinTheCap has an answer continued by a client that allows so
// many tokens for all of it.
func TestContinueWithinTheCap(t *testing.T) {
	const body = `{"messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":`
	t.Run("the_rest_may_have_what_is_left", func(t *testing.T) {
		one := &script{continues: true, replies: []reply{streams(text("Once")), says(" upon")}}
		a := ask(t, newGateway(t, `{}`, one), body+`10}`)
		a.wantWhole(t, "Once upon")
		if got := gjson.GetBytes(one.asked[1].Body, "max_tokens").Int(); got != 9 || one.asked[1].Continue != "Once" {
			t.Errorf("asked for %d tokens more behind %q", got, one.asked[1].Continue)
		}
	})
	t.Run("where_nothing_is_left_it_is_not_continued", func(t *testing.T) {
		one := &script{continues: true, replies: []reply{streams(text("Once")), {steps: []step{text("Once"), finish("length"), end}}}}
		a := ask(t, newGateway(t, `{}`, one), body+`1}`)
		a.wantWhole(t, "Once")
		if one.asked[1].Continue != "" {
			t.Errorf("asked to go on behind %q", one.asked[1].Continue)
		}
	})
}

// long is more than a hundred tokens.
var long = strings.Repeat("abcd", 400)

// TestBudgetEnds has an answer of which the budget has no room for the first
// chunk: the client still gets an answer that has begun and finished.
func TestBudgetEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		members string
		steps   []step
		reasons []string
	}{
		{"at_the_first_chunk", ``, []step{text(long), finish("stop"), end}, []string{"0:length"}},
		{"of_several_choices", `,"n":2`, []step{chunk(`[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]`, ""), text(long), finish("stop"), end}, []string{"1:stop", "0:length"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one := &script{replies: []reply{streams(tc.steps...)}}
			app := `{"store":{"module":"badger","path":` + string(provider.Encode(t.TempDir())) + `},"tenant":[{"id":"acme","budgets":["100 tokens/day"]}]}`
			h, err := loadGateway(t, app, `{"tenant":"acme"}`, 1)
			if err != nil {
				t.Fatal(err)
			}
			h.providers["one"] = one
			w := httptest.NewRecorder()
			serve(t, h, w, newRequest(t.Context(), `{"messages":[{"role":"user","content":"hi"}],"stream":true`+tc.members+`}`))
			a := read(w)
			if !a.done || a.code != "" || len(a.reasons) != len(tc.reasons) {
				t.Fatalf("end mark %v, error %q, finished for %q\n%s", a.done, a.code, a.reasons, a.frames)
			}
			for i, reason := range tc.reasons {
				if a.reasons[i] != reason {
					t.Errorf("finished for %q, want %q", a.reasons, tc.reasons)
				}
			}
			first := a.frames[0]
			if first.Get("id").Str != "id-1" || first.Get("object").Str != "chat.completion.chunk" {
				t.Errorf("the answer begins with %s", first)
			}
			if len(a.frames) == 1 && first.Get("choices.0.delta.role").Str != "assistant" {
				t.Errorf("nobody says whose answer it is: %s", first)
			}
		})
	}
}
