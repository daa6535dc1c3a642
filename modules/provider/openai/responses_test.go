package openai

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

func responseRequest(body string) *provider.Request {
	return &provider.Request{
		Model: "gpt-5", Body: []byte(`{"messages":[]}`),
		Native: &provider.Native{API: provider.APIResponses, Body: []byte(body)},
	}
}

// TestResponsesAreSentAsTheyCame tests every byte: prompt caches depend on it.
func TestResponsesAreSentAsTheyCame(t *testing.T) {
	const (
		user   = `{"role":"user","content":"\u0068i\/"}`
		ran    = `{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"1","status":"completed"}`
		bare   = `{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":null}`
		sealed = `{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"}`
		spoken = `{"type":"reasoning","id":"rs_3","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}`
		cited  = `{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[{"type":"container_file_citation","file_id":"cfile_1","container_id":"cntr_1"}]}]}`
		listed = `{"type":"mcp_list_tools","tools":[{"name":"f","input_schema":{"properties":{"file_id":{"type":"string"}}}}]}`
	)
	for name, tc := range map[string]struct{ body, want string }{
		"spelling, order and what is unknown": {
			`{ "input":` + user + `,"model" : "m","temperature":1.0e0,` + "\n\t" + `"new":{"b":1,"a":[ ]},"store" : false }`,
			`{ "input":` + user + `,"model" : "gpt-5","temperature":1.0e0,` + "\n\t" + `"new":{"b":1,"a":[ ]},"store" : false }`,
		},
		"store is added":         {`{"model":"m","input":"hi"}`, `{"model":"gpt-5","input":"hi","store":false}`},
		"store is replaced":      {`{"store":true,"model":"m","input":"hi"}`, `{"store":false,"model":"gpt-5","input":"hi"}`},
		"store null":             {`{"store":null,"model":"m","input":"hi"}`, `{"store":false,"model":"gpt-5","input":"hi"}`},
		"another spelling":       {`{"model":"m","MODEL":"x","store":false}`, `{"model":"gpt-5","store":false}`},
		"members that are false": {`{"model":"m","background":false,"prompt":null,"store":false}`, `{"model":"gpt-5","background":false,"prompt":null,"store":false}`},
		"reasoning":              {`{"model":"m","input":[` + user + `, ` + sealed + ` ,` + spoken + `],"store":false}`, `{"model":"gpt-5","input":[` + user + `, ` + sealed + ` ,` + spoken + `],"store":false}`},
		"references in between":  {`{"model":"m","input":[ ` + user + ` , ` + bare + ` , ` + ran + ` , ` + user + ` ],"store":false}`, `{"model":"gpt-5","input":[ ` + user + ` , ` + user + ` ],"store":false}`},
		"references at first":    {`{"model":"m","input":[ ` + bare + `, ` + ran + ` , ` + user + `,` + user + `],"store":false}`, `{"model":"gpt-5","input":[` + user + `,` + user + `],"store":false}`},
		"references at last":     {`{"model":"m","input":[` + user + `, ` + bare + ` ],"store":false}`, `{"model":"gpt-5","input":[` + user + ` ],"store":false}`},
		"references alone":       {`{"model":"m","input":[ ` + bare + `,` + bare + ` ],"store":false}`, `{"model":"gpt-5","input":[ ],"store":false}`},
		"what OpenAI's clients add": {
			`{"model":"m","input":[{"type":"function_call","parsed_arguments" : {"a":1}, "call_id":"c"},{"type":"message","role":"assistant","content":[ {"type":"output_text","text":"parsed" , "parsed":null},{"parsed":{},"type":"output_text"}]},{"role":"user","content":[{"type":"input_text","text":"\"parsed\":1"}]}],"store":false}`,
			`{"model":"gpt-5","input":[{"type":"function_call", "call_id":"c"},{"type":"message","role":"assistant","content":[ {"type":"output_text","text":"parsed" },{"type":"output_text"}]},{"role":"user","content":[{"type":"input_text","text":"\"parsed\":1"}]}],"store":false}`,
		},
		"names that are no ids": {`{"model":"m","input":[` + cited + `,` + listed + `],"store":false}`, `{"model":"gpt-5","input":[` + cited + `,` + listed + `],"store":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(http.StatusOK, nil, []byte(`{"status":"completed","output":[]}`), providertest.Whole)
			if _, err := newProvider(t, replay.URL).Complete(t.Context(), responseRequest(tc.body)); err != nil {
				t.Fatal(err)
			}
			_, bodies := replay.Requests()
			if got := string(bodies[len(bodies)-1]); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestResponsesRefuseWhatIsStored(t *testing.T) {
	for at, body := range map[string]string{
		"input.0.type":                          `{"input":[{"type":"image_generation_call","id":"ig_1"}]}`,
		"tools.0.environment.container_id":      `{"tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_1"}}]}`,
		"tools.0.environment.skills.0.skill_id": `{"tools":[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"skill_reference","skill_id":"skill_1"}]}}]}`,
		"input.1.content.0.file_id":             `{"input":["x",{"content":[{"file_id":"file_1"}]}]}`,
	} {
		_, err := newProvider(t, "http://127.0.0.1:1").Complete(t.Context(), responseRequest(body))
		e, ok := errors.AsType[*provider.Error](err)
		if !ok || e.Param != at {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestResponsesIncomplete has a server tell in its own words why it has stopped. Only the
// reasons that the API has are an answer's.
func TestResponsesIncomplete(t *testing.T) {
	const said = `{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}`
	for _, tc := range []struct {
		reason, output string
		ok             bool
	}{
		{"max_output_tokens", "", true},
		{"content_filter", "", true},
		{"max_output_tokens", said, true},
		{"new_reason", said, true},
		{"new_reason", "", false},
		{"key sk-secret of org-1 is out of credit", "", false},
		{"key sk-secret of org-1 is out of credit", said, false},
	} {
		doc := `{"id":"r","status":"incomplete","incomplete_details":{"reason":"` + tc.reason + `"},"output":[` + tc.output + `]}`
		replay := providertest.NewReplay(t)
		replay.Answer(http.StatusOK, nil, []byte(doc), providertest.Whole)
		_, err := newProvider(t, replay.URL).Complete(t.Context(), responseRequest(`{"model":"m"}`))
		if e, failed := errors.AsType[*provider.Error](err); failed == tc.ok || failed && (e.Reason != provider.ReasonUnavailable || strings.Contains(e.Message, "secret")) {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestResponsesCutAtEveryByte(t *testing.T) {
	const (
		head = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"m\"}}\n\n" +
			"event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"function_call\",\"name\":\"f\"}}\n\n" +
			"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n" +
			"event: response.new\ndata: {\"type\":\"response.new\"}\n\n" +
			"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"model\":\"m\",\"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":3}}}}"
		whole = head + "\n\n"
	)
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for at := len("event: r"); at <= len(whole); at += 3 {
		replay.Answer(http.StatusOK, http.Header{"Content-Type": {"text/event-stream"}}, []byte(whole[:at]), providertest.Whole)
		s, err := p.Stream(t.Context(), responseRequest(`{"model":"m","stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		var raw, text, finish string
		var usage *provider.Usage
		for {
			c, err2 := s.Next()
			if err = err2; err != nil {
				break
			}
			raw += string(c.Native)
			text += c.Text
			finish += c.FinishReason
			if c.Usage != nil {
				usage = c.Usage
			}
		}
		s.Close()
		finished := at >= len(head)
		if finished != errors.Is(err, io.EOF) || !finished && !errors.Is(err, provider.ErrCut) {
			t.Errorf("cut at %d: %v", at, err)
		}
		if finished && (text != "hi" || finish != "tool_calls" || usage == nil || *usage != (provider.Usage{Input: 9, Output: 7, Cached: 4, Reasoning: 3})) {
			t.Errorf("cut at %d: %q %q %+v", at, text, finish, usage)
		}
		if !strings.HasPrefix(whole, strings.TrimRight(raw, "\n")) {
			t.Errorf("cut at %d: %q", at, raw)
		}
	}
}

// TestResponsesOfAgents has an agent send back all that it was answered, with and without
// the sealed reasoning that it should have asked for.
func TestResponsesOfAgents(t *testing.T) {
	p := newStrict(t, providertest.StrictResponses)
	for _, include := range []string{"", `"include":["reasoning.encrypted_content"],`, `"reasoning":{"summary":"auto"},`} {
		for _, ask := range []asking{completed, streamed} {
			items := `{"role":"user","content":[{"type":"input_text","text":"hi"}]}`
			for turn, want := range []string{"tool_calls", "stop", "tool_calls"} {
				output, finish, err := ask(t, p, `{"model":"m",`+include+`"tools":[{"type":"function","name":"f"},{"type":"web_search"}],"input":[`+items+`]}`)
				if err != nil {
					t.Fatalf("%s turn %d: %v", include, turn, err)
				}
				if finish != want {
					t.Errorf("%s turn %d: finish reason %q, want %q", include, turn, finish, want)
				}
				for _, item := range output.Array() {
					items += "," + item.Raw
					if item.Get("type").Str == "function_call" {
						items += `,{"type":"function_call_output","call_id":` + item.Get("call_id").Raw + `,"output":"done"}`
					}
				}
				if want == "stop" {
					items += `,{"role":"user","content":"and?"}`
				}
			}
		}
	}
}

// newStrict returns a provider whose server has Responses.
func newStrict(t *testing.T, server http.HandlerFunc) provider.Provider {
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	return newProvider(t, s.URL)
}

// asking has a request answered, and returns the items of the answer.
type asking func(t *testing.T, p provider.Provider, body string) (output gjson.Result, finish string, err error)

func completed(t *testing.T, p provider.Provider, body string) (output gjson.Result, finish string, err error) {
	c, err := p.Complete(t.Context(), responseRequest(body))
	if err != nil {
		return output, "", err
	}
	return gjson.GetBytes(c.Native, "output"), c.FinishReason, nil
}

func streamed(t *testing.T, p provider.Provider, body string) (output gjson.Result, finish string, err error) {
	body, _ = sjson.Set(body, "stream", true)
	s, err := p.Stream(t.Context(), responseRequest(body))
	if err != nil {
		return output, "", err
	}
	defer s.Close()
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			return output, finish, nil
		}
		if err != nil {
			return output, "", err
		}
		finish += c.FinishReason
		_, data, _ := strings.Cut(string(c.Native), "data: ")
		output = gjson.Get(data, "response.output")
	}
}

// TestResponsesRefusedByTheServer maps what the server refuses.
func TestResponsesRefusedByTheServer(t *testing.T) {
	p := newStrict(t, providertest.StrictResponses)
	for body, param := range map[string]string{
		`{"model":"m","input":"hi","tools":[{"type":"teleport"}]}`:                                                                       "tools[0]",
		`{"model":"m","input":"hi","max_tokens":100}`:                                                                                    "max_tokens",
		`{"model":"m","input":"hi","max_output_tokens":15}`:                                                                              "max_output_tokens",
		`{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":"x"}]}`:                                             "input",
		`{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]}`:                                     "input",
		`{"model":"m","input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAAB"}]}`:                             "input",
		`{"model":"m","input":[{"type":"mcp_approval_response","approve":true}]}`:                                                        "input[0].approval_request_id",
		`{"model":"m","input":[{"role":"user","content":[{"type":"output_text","text":"x"}]}]}`:                                          "input[0].content[0]",
		`{"model":"m","input":[{"role":"assistant","content":[{"type":"input_text","text":"x"}]}]}`:                                      "input[0].content[0]",
		`{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":{"url":"https://x.test"},"detail":"low"}]}]}`: "input[0].content[0].image_url",
	} {
		for _, ask := range []asking{completed, streamed} {
			_, _, err := ask(t, p, body)
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonInvalid || e.Param != param {
				t.Errorf("%s: %+v, want %s refused", body, err, param)
			}
		}
	}
}

// TestResponsesOfAnotherServer has a conversation go on at a server that has not begun it,
// and that refuses what only the other one can read.
func TestResponsesOfAnotherServer(t *testing.T) {
	const (
		said   = `{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}`
		called = `{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}","status":"completed"},{"type":"function_call_output","call_id":"c","output":"x"}`
		more   = `,{"role":"user","content":"and?"}`
	)
	sealed := `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"other"},`
	long := strings.Repeat("x", 400)
	strict := providertest.StrictResponses
	for name, tc := range map[string]struct {
		server http.HandlerFunc
		items  string
	}{
		"reasoning of another key":          {strict, sealed + said + more},
		"and Azure has no code for it":      {uncoded, sealed + said + more},
		"reasoning as text":                 {strict, `{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},` + said + more},
		"reasoning with a status":           {strict, `{"type":"reasoning","id":"rs_1","status":"completed","summary":[],"encrypted_content":"other"},` + said + more},
		"an id that is too long":            {strict, strings.Replace(said, "msg_1", long, 1) + more},
		"an id of another kind":             {strict, strings.Replace(said, "msg_1", "item_1", 1) + more},
		"the id of a call":                  {strict, strings.Replace(called, "fc_1", "call_1", 1)},
		"a call whose reasoning is missing": {remembers, called},
	} {
		t.Run(name, func(t *testing.T) {
			p := newStrict(t, tc.server)
			body := `{"model":"m","input":[{"role":"user","content":"hi"},` + tc.items + `]}`
			for _, ask := range []asking{completed, streamed} {
				if output, finish, err := ask(t, p, body); err != nil || finish != "stop" || output.Raw == "" {
					t.Errorf("%s %q, %v", output, finish, err)
				}
			}
			for _, ask := range []asking{completed, streamed} {
				_, _, err := ask(t, p, strings.TrimSuffix(body, "]}")+`,{"type":"function_call_output","call_id":"lost","output":"x"}]}`)
				if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonInvalid {
					t.Errorf("refused for more: %v", err)
				}
			}
		})
	}
}

// TestResponsesNamedByTheServer has some of a conversation come from another server: only
// what this one names is left out.
func TestResponsesNamedByTheServer(t *testing.T) {
	own := func(n int) string {
		return fmt.Sprintf(`{"type":"reasoning","id":"rs_%[1]d","summary":[],"encrypted_content":"gAAAAB"},{"type":"message","id":"msg_%[1]d","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}`, n)
	}
	foreign := func(n int, sealed string) string { return strings.Replace(own(n), "gAAAAB", sealed, 1) }
	says := func(message string) http.HandlerFunc { // of the item rs_1
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if gjson.GetBytes(body, `input.#(id=="rs_1")`).Exists() {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"error":{"message":%q,"type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}`, message)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			providertest.StrictResponses(w, r)
		}
	}
	const user = `{"role":"user","content":"and?"}`
	for name, tc := range map[string]struct {
		server http.HandlerFunc
		items  []string
		calls  int
		left   string // the ids that are left
	}{
		"one, by what is sealed":      {providertest.StrictResponses, []string{own(1), user, foreign(2, "gAAAother"), user, own(3)}, 2, "rs_1 msg_1 rs_3 msg_3"},
		"three, one by one":           {providertest.StrictResponses, []string{foreign(1, "gAAAone"), own(2), foreign(3, "gAAAtwo"), foreign(4, "gAAAthree")}, 4, "rs_2 msg_2"},
		"more":                        {providertest.StrictResponses, []string{foreign(1, "a"), own(2), foreign(3, "b"), foreign(4, "c"), foreign(5, "d")}, 5, ""},
		"two that look the same":      {providertest.StrictResponses, []string{foreign(1, "gAAAother"), own(2), foreign(3, "gAAAnother")}, 2, ""},
		"by its id":                   {says("The encrypted content for item rs_1 could not be verified."), []string{own(1), own(2)}, 2, "rs_2 msg_2"},
		"by its id, shortened":        {says("The encrypted content for item rs...1 could not be verified."), []string{own(1), own(2)}, 2, "rs_2 msg_2"},
		"by its place":                {says("Invalid 'input[1].encrypted_content': The encrypted content could not be verified."), []string{own(1), own(2)}, 2, "rs_2 msg_2"},
		"by a place that is not":      {says("Invalid 'input[99].encrypted_content': The encrypted content could not be verified."), []string{own(1), own(2)}, 2, ""},
		"by nothing":                  {says("The encrypted content could not be verified."), []string{own(1), own(2)}, 2, ""},
		"by what is not there":        {says("The encrypted content for item rs_7 could not be verified."), []string{own(1), own(2)}, 2, ""},
		"a status, which stays apart": {providertest.StrictResponses, []string{strings.Replace(own(1), `"id"`, `"status":"completed","id"`, 1), own(2)}, 2, "rs_1 msg_1 rs_2 msg_2"},
		"an id":                       {providertest.StrictResponses, []string{strings.Replace(own(1), "msg_1", "item_1", 1), own(2)}, 2, "rs_1 rs_2 msg_2"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []byte
			calls := 0
			p := newStrict(t, func(w http.ResponseWriter, r *http.Request) {
				calls++
				asked, _ = io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(asked))
				tc.server(w, r)
			})
			for _, ask := range []asking{completed, streamed} {
				calls = 0
				if _, finish, err := ask(t, p, `{"model":"m","input":[{"role":"user","content":"hi"},`+strings.Join(tc.items, ",")+`,`+user+`]}`); err != nil || finish != "stop" {
					t.Fatalf("%q, %v", finish, err)
				}
				var left []string
				for _, id := range gjson.GetBytes(asked, "input.#.id").Array() {
					left = append(left, id.Str)
				}
				if got := strings.Join(left, " "); got != tc.left || calls != tc.calls {
					t.Errorf("after %d calls %q is left in %s", calls, got, asked)
				}
			}
		})
	}
}

// uncoded is a strict server whose errors have no code, as some of Azure's.
func uncoded(w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	providertest.StrictResponses(rec, r)
	body := rec.Body.Bytes()
	if rec.Code >= 400 {
		body, _ = sjson.SetBytes(body, "error.code", nil)
	}
	w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
	w.WriteHeader(rec.Code)
	w.Write(body)
}

// remembers is a strict server that knows from somewhere else which reasoning was behind
// the call with the id fc_1.
func remembers(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if gjson.GetBytes(body, `input.#(id=="fc_1")`).Exists() {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"error":{"message":"Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.","type":"invalid_request_error","param":"input","code":null}}`)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	providertest.StrictResponses(w, r)
}

// TestResponsesWithoutTheirContainer sends back an answer that has run code and was cut
// short, whose reasoning has nothing behind it when the code is left out.
func TestResponsesWithoutTheirContainer(t *testing.T) {
	const thought = `{"type":"reasoning","id":"rs_%d","summary":[],"encrypted_content":"gAAAAB"}`
	const ran = `{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"1","outputs":null,"status":"incomplete"}`
	body := `{"model":"m","input":[{"role":"user","content":"hi"},` + fmt.Sprintf(thought, 1) + `,` + fmt.Sprintf(thought, 2) + `,` + ran + `,{"role":"user","content":"go on"}]}`
	for _, ask := range []asking{completed, streamed} {
		if _, finish, err := ask(t, newStrict(t, providertest.StrictResponses), body); err != nil || finish != "stop" {
			t.Errorf("%q, %v", finish, err)
		}
	}
}
