package aigateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// Embed answers with a vector after the reply's time.
func (s *script) Embed(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	if _, err := s.next(ctx, req); err != nil {
		return nil, err
	}
	return &provider.Completion{Body: []byte(`{"object":"list","data":[],"usage":{"prompt_tokens":1}}`)}, nil
}

// silentFor is an answer whose first token comes so long after the header.
func silentFor(d time.Duration) reply {
	return streams(pause(d, text("Hello")), finish("stop"), end)
}

const (
	asDocument  = `{"messages":[{"role":"user","content":"hi"}]}`
	asEmbedding = `{"model":"fast","input":"hi"}`
)

// TestTimeouts has targets that are silent before their answer. Time is not the
// real one.
func TestTimeouts(t *testing.T) {
	hello := func() *script { return &script{replies: []reply{says("Hello")}} }
	after := func(d time.Duration) *script {
		return &script{replies: []reply{{after: d, steps: says("Hello").steps}}}
	}
	thought := func(d time.Duration) *script { return &script{replies: []reply{silentFor(d)}} }
	never := func() *script { return &script{replies: []reply{streams(silence)}} }
	reasoning := strings.Replace(streamed, `"stream":true`, `"stream":true,"reasoning_effort":"high"`, 1)
	for _, tc := range []struct {
		name    string
		config  string
		body    string // streamed by default
		scripts []*script
		calls   []int
		took    time.Duration
		code    string // of the error; empty where there is an answer
	}{
		{name: "the only target may think", scripts: []*script{thought(14 * time.Second)}, calls: []int{1}, took: 14 * time.Second},
		{name: "the only target may think for 5 minutes", scripts: []*script{never()}, calls: []int{1}, took: 5 * time.Minute, code: "ai_timeout"},
		{name: "a target before another may not", scripts: []*script{thought(14 * time.Second), hello()}, calls: []int{1, 1}, took: 12 * time.Second},
		{name: "the last target may", scripts: []*script{thought(14 * time.Second), thought(20 * time.Second)}, calls: []int{1, 1}, took: 32 * time.Second},
		{name: "a model that thinks by its block may", config: `{"models":[{"name":"fast","to":["one/m","two/m"],"thinks":true}]}`, scripts: []*script{thought(14 * time.Second), hello()}, calls: []int{1, 0}, took: 14 * time.Second},
		{name: "a model that thinks by its name may", config: `{"models":[{"name":"fast","to":["one/deepseek-r1:8b","two/m"]}]}`, scripts: []*script{thought(14 * time.Second), hello()}, calls: []int{1, 0}, took: 14 * time.Second},
		{name: "a model that is asked to think may", body: reasoning, scripts: []*script{thought(14 * time.Second), hello()}, calls: []int{1, 0}, took: 14 * time.Second},
		{name: "a header may take a minute", scripts: []*script{after(59 * time.Second), hello()}, calls: []int{1, 0}, took: 59 * time.Second},
		{name: "and no longer", scripts: []*script{after(61 * time.Second), hello()}, calls: []int{1, 1}, took: time.Minute},
		{name: "the token counts from the header", scripts: []*script{{replies: []reply{{after: 50 * time.Second, steps: silentFor(11 * time.Second).steps}}}, hello()}, calls: []int{1, 0}, took: 61 * time.Second},
		{name: "a role is no token", scripts: []*script{{replies: []reply{streams(pause(11*time.Second, delta(`"role":"assistant","content":""`)), silence)}}, hello()}, calls: []int{1, 1}, took: 12 * time.Second},
		{name: "a tool call is a token", scripts: []*script{{replies: []reply{streams(pause(11*time.Second, delta(`"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`)), pause(50*time.Second, text("Hello")), finish("tool_calls"), end)}}, hello()}, calls: []int{1, 0}, took: 61 * time.Second},

		{name: "a document may take minutes", body: asDocument, scripts: []*script{after(9 * time.Minute), hello()}, calls: []int{1, 0}, took: 9 * time.Minute},
		{name: "a document may take 10 minutes", body: asDocument, scripts: []*script{after(time.Hour)}, calls: []int{1}, took: 10 * time.Minute, code: "ai_timeout"},
		{name: "embeddings may take minutes", body: asEmbedding, scripts: []*script{after(9 * time.Minute)}, calls: []int{1}, took: 9 * time.Minute},
		{name: "embeddings may take 10 minutes", body: asEmbedding, scripts: []*script{after(time.Hour)}, calls: []int{1}, took: 10 * time.Minute, code: "ai_timeout"},

		{name: "a given response_timeout counts for streams", config: `{"response_timeout":"7s"}`, scripts: []*script{after(time.Hour), hello()}, calls: []int{1, 1}, took: 7 * time.Second},
		{name: "a given response_timeout counts for documents", config: `{"response_timeout":"7s"}`, body: asDocument, scripts: []*script{after(time.Hour), hello()}, calls: []int{1, 1}, took: 7 * time.Second},
		{name: "a given first_token_timeout counts for the last target", config: `{"first_token_timeout":"3s"}`, scripts: []*script{never()}, calls: []int{1}, took: 3 * time.Second, code: "ai_timeout"},
		{name: "a given first_token_timeout counts for a model that thinks", config: `{"first_token_timeout":"3s"}`, body: reasoning, scripts: []*script{never(), hello()}, calls: []int{1, 1}, took: 3 * time.Second},
		{name: "a model's timeout counts before the handler's", config: `{"first_token_timeout":"3s","models":[{"name":"fast","to":["one/m","two/m"],"first_token_timeout":"30s"}]}`, scripts: []*script{thought(29 * time.Second), hello()}, calls: []int{1, 0}, took: 29 * time.Second},
		{name: "the handler's counts where a model has none", config: `{"first_token_timeout":"3s","models":[{"name":"fast","to":["one/m","two/m"],"response_timeout":"30s"}]}`, scripts: []*script{never(), hello()}, calls: []int{1, 1}, took: 3 * time.Second},
		{name: "a model's response_timeout", config: `{"models":[{"name":"fast","to":["one/m","two/m"],"response_timeout":"2s"}]}`, scripts: []*script{after(time.Hour), hello()}, calls: []int{1, 1}, took: 2 * time.Second},
		{name: "a model's try_duration", config: `{"models":[{"name":"fast","to":["one/m","two/m"],"try_duration":"2s"}]}`, scripts: []*script{after(time.Hour), hello()}, calls: []int{1, 0}, took: 2 * time.Second, code: "ai_timeout"},

		{name: "try_duration is 100 s", config: `{"first_token_timeout":"30s"}`, scripts: []*script{after(time.Hour), after(time.Hour)}, calls: []int{1, 1}, took: 100 * time.Second, code: "ai_timeout"},
		{name: "try_duration is no shorter than another timeout", config: `{"response_timeout":"180s","first_token_timeout":"30s"}`, scripts: []*script{after(170 * time.Second)}, calls: []int{1}, took: 170 * time.Second},
		{name: "a given try_duration is final", config: `{"response_timeout":"180s","try_duration":"20s"}`, scripts: []*script{after(170 * time.Second)}, calls: []int{1}, took: 20 * time.Second, code: "ai_timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := tc.config
			if config == "" {
				config = `{}`
			}
			h := newGateway(t, durations(config), tc.scripts...)
			synctest.Test(t, func(t *testing.T) {
				body, r := tc.body, newRequest(t.Context(), streamed)
				if body != "" {
					r = newRequest(t.Context(), body)
				}
				if body == asEmbedding {
					r.URL.Path = "/v1/embeddings"
				}
				begun, w := time.Now(), httptest.NewRecorder()
				serve(t, h, w, r)
				a := read(w)
				if a.code != tc.code || tc.code == "" && (a.status != http.StatusOK || body != asEmbedding && a.text != "Hello") {
					t.Errorf("status %d, error %q, text %q; want error %q", a.status, a.code, a.text, tc.code)
				}
				wantCalls(t, tc.scripts, tc.calls...)
				if took := time.Since(begun).Round(time.Millisecond); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
			})
		})
	}
}

// TestNextInLine has a second target that cannot be called: the first is then the
// last in line.
func TestNextInLine(t *testing.T) {
	one, two := &script{replies: []reply{silentFor(14 * time.Second)}}, &script{replies: []reply{says("no")}}
	h := newGateway(t, `{"circuit_breaker":{"failures":1,"pause":3600000000000}}`, one, two)
	synctest.Test(t, func(t *testing.T) {
		open(t, h, "two")
		a := ask(t, h, streamed)
		a.wantWhole(t, "Hello")
		wantCalls(t, []*script{one, two}, 1, 0)
	})
}

// TestSilenceOpensTheCircuit has the only target use up all of the call's time,
// which is its own fault.
func TestSilenceOpensTheCircuit(t *testing.T) {
	for name, body := range map[string]string{"stream": streamed, "document": asDocument} {
		t.Run(name, func(t *testing.T) {
			one := &script{replies: []reply{{after: time.Hour}}}
			h := newGateway(t, durations(`{"circuit_breaker":{"failures":1},"response_timeout":"180s"}`), one)
			synctest.Test(t, func(t *testing.T) {
				if a := ask(t, h, body); a.code != "ai_timeout" {
					t.Errorf("error %q", a.code)
				}
				if s := state(t, h); s != route.Open {
					t.Errorf("the circuit is %s", s)
				}
			})
		})
	}
}

// TestTimeoutOfAssembledDocument has a budget, for which the gateway streams
// upstream. The client's document has the same time as any other.
func TestTimeoutOfAssembledDocument(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config string // more members
		steps  []step
		code   string
		took   time.Duration
	}{
		{"silence before the first token", ``, []step{pause(8*time.Minute, text("Hello")), finish("stop"), end}, "", 8 * time.Minute},
		{"silence within the answer", ``, []step{text("Hel"), pause(4*time.Minute, text("lo")), pause(4*time.Minute, finish("stop")), end}, "", 8 * time.Minute},
		{"all of the answer counts", ``, []step{pause(6*time.Minute, text("Hel")), pause(6*time.Minute, text("lo")), finish("stop"), end}, "ai_timeout", 10 * time.Minute},
		{"a given response_timeout counts", `,"response_timeout":"20s"`, []step{text("Hel"), pause(30*time.Second, text("lo")), finish("stop"), end}, "ai_timeout", 20 * time.Second},
		{"a given first_token_timeout counts", `,"first_token_timeout":"3s"`, []step{pause(30*time.Second, text("Hello")), finish("stop"), end}, "ai_timeout", 3 * time.Second},
		{"a given stall_timeout counts", `,"stall_timeout":"5s"`, []step{text("Hel"), pause(30*time.Second, text("lo")), finish("stop"), end}, "ai_timeout", 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one := &script{replies: []reply{streams(tc.steps...)}}
			app := `{"store":{"module":"badger","path":` + string(provider.Encode(t.TempDir())) + `},"tenant":[{"id":"acme","budgets":["100000 tokens/day"]}]}`
			h, err := loadGateway(t, app, durations(`{"tenant":"acme"`+tc.config+`}`), 1)
			if err != nil {
				t.Fatal(err)
			}
			h.providers["one"] = one
			_, release, err := h.app.Lease() // opens the store outside of the bubble
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				a := ask(t, h, asDocument)
				if a.code != tc.code || tc.code == "" && a.text != "Hello" {
					t.Errorf("status %d, error %q, text %q; want error %q", a.status, a.code, a.text, tc.code)
				}
				if took := time.Since(begun).Round(time.Millisecond); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
			})
		})
	}
}

// TestStallEverywhere has streams that fall silent on every target, and so do
// their rescues. The answer ends after twice the stall_timeout.
func TestStallEverywhere(t *testing.T) {
	stalls := func(pieces ...string) reply {
		var steps []step
		for _, p := range pieces {
			steps = append(steps, text(p))
		}
		return streams(append(steps, silence)...)
	}
	header := reply{after: time.Hour}
	for _, tc := range []struct {
		name      string
		continues bool
		replies   []reply // of each target, call by call; the last one repeats
		targets   int
		text      string
	}{
		{"one target, the same again", false, []reply{stalls("Hel")}, 1, "Hel"},
		{"two targets, the same again", false, []reply{stalls("Hel")}, 2, "Hel"},
		{"three targets, the same again", false, []reply{stalls("Hel")}, 3, "Hel"},
		{"two targets that go on for a word", true, []reply{stalls("Hel")}, 2, "HelHel"},
		{"three targets that go on for a word", true, []reply{stalls("Hel")}, 3, "HelHel"},
		{"no token from the rescue", false, []reply{stalls("Hel"), streams(silence)}, 1, "Hel"},
		{"no header from the rescue", false, []reply{stalls("Hel"), header}, 1, "Hel"},
		{"no header, by any way", true, []reply{stalls("Hel"), header}, 1, "Hel"},
		{"a late word from the rescue", true, []reply{stalls("Hel"), streams(pause(40*time.Second, text("lo")), silence)}, 1, "Hello"},
		{"another answer", false, []reply{stalls("Hel"), stalls("Other")}, 2, "Hel"},
	} {
		for _, timeout := range []time.Duration{time.Minute, 7 * time.Second} {
			t.Run(tc.name+"/"+timeout.String(), func(t *testing.T) {
				var scripts []*script
				for range tc.targets {
					scripts = append(scripts, &script{replies: tc.replies, continues: tc.continues})
				}
				config := `{}`
				if timeout != time.Minute {
					config = `{"stall_timeout":"` + timeout.String() + `"}`
				}
				h := newGateway(t, durations(config), scripts...)
				synctest.Test(t, func(t *testing.T) {
					begun := time.Now()
					a := ask(t, h, streamed)
					want := tc.text
					if tc.name == "a late word from the rescue" && timeout < 40*time.Second {
						want = "Hel"
					}
					if a.done || a.text != want || a.code != "ai_timeout" {
						t.Errorf("end mark %v, text %q, error %q; want %q", a.done, a.text, a.code, want)
					}
					if took := time.Since(begun).Round(time.Millisecond); took > 2*timeout || took < timeout {
						t.Errorf("it took %v, want %v at most", took, 2*timeout)
					}
				})
			})
		}
	}
}

// TestRescueFlows has rescues that answer: they are not cut short, however long
// they take or however late they begin.
func TestRescueFlows(t *testing.T) {
	slow := func(first time.Duration) reply {
		steps := []step{text(" upon")}
		for range 60 {
			steps = append(steps, pause(4*time.Second, text(".")))
		}
		return reply{after: first, steps: append(steps, pause(50*time.Second, finish("stop")), end)}
	}
	want := "Once upon" + strings.Repeat(".", 60)
	for name, tc := range map[string]struct {
		first reply
		then  reply
	}{
		"after a stall":           {streams(text("Once"), silence), slow(time.Second)},
		"after a stall, late":     {streams(text("Once"), silence), slow(50 * time.Second)},
		"after a cut":             {streams(text("Once")), slow(time.Second)},
		"after a cut, late":       {streams(text("Once")), slow(55 * time.Second)},
		"after minutes and a cut": {streams(pause(10*time.Second, text("Once")), pause(50*time.Second, delta(`"content":""`))), slow(30 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := &script{replies: []reply{tc.first}}, &script{replies: []reply{tc.then}, continues: true}
			h := newGateway(t, `{}`, one, two)
			synctest.Test(t, func(t *testing.T) {
				a := ask(t, h, streamed)
				a.wantWhole(t, want)
				wantCalls(t, []*script{one, two}, 1, 1)
			})
		})
	}
	t.Run("a rescue that is cut is rescued", func(t *testing.T) {
		cut := streams(text(" upon"), pause(50*time.Second, text(" a")), pause(50*time.Second, text(" time")))
		one, two := &script{replies: []reply{streams(text("Once"), silence)}}, &script{replies: []reply{cut}, continues: true}
		three := &script{replies: []reply{streams(pause(30*time.Second, text(".")), finish("stop"), end)}, continues: true}
		h := newGateway(t, `{}`, one, two, three)
		synctest.Test(t, func(t *testing.T) {
			a := ask(t, h, streamed)
			a.wantWhole(t, "Once upon a time.")
			wantCalls(t, []*script{one, two, three}, 1, 1, 1)
		})
	})
}
