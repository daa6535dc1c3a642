package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// requestCase is something that a client may ask for.
type requestCase struct {
	name string

	// members are those of the body that differ from the plain one's.
	members string

	// param is the member that an error has to name if the provider does not
	// support it, without indices of lists.
	param string

	// stored says that it belongs to a key, and is refused wherever tenants share that.
	stored bool
}

// requests checks that what the client asks for reaches the server in its
// dialect, or that the client learns that it does not.
func requests(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	s.answerWhole(hi)
	known := make(map[string]bool)
	for _, tc := range requestCases {
		known[tc.name] = true
		t.Run(tc.name, func(t *testing.T) { s.translates(t, tc) })
	}
	for name := range d.Bodies {
		if !known[name] {
			t.Errorf("Bodies has %q, which is no case", name)
		}
	}
	t.Run("defaults", s.saysNothing)
	t.Run("stream", func(t *testing.T) {
		s.answerStream(hi, Whole)
		if a := streamOf(t.Context(), t, s, s.request(plainBody)); a.Err != nil {
			t.Fatal(a.Err)
		}
		_, body := s.sent(t)
		sameJSON(t, body, s.native(t, plainBody, s.StreamMembers))
	})
	t.Run("continue", func(t *testing.T) { continues(t, d) })
}

func (s *subject) translates(t *testing.T, tc requestCase) {
	defer s.forget()
	asked := with(t, plainBody, tc.members)
	req := s.request(asked)
	_, err := s.Complete(t.Context(), req)
	if string(req.Body) != asked {
		t.Errorf("the client's body was changed: %s", req.Body)
	}
	want, carried := s.Bodies[tc.name]
	if tc.name == "plain" || s.Bodies == nil && !tc.stored {
		carried = true
	}
	if carried {
		if err != nil || len(req.Dropped) > 0 {
			t.Fatalf("failed with %v and dropped %q, want it carried over", err, req.Dropped)
		}
		_, body := s.sent(t)
		sameJSON(t, body, s.native(t, asked, want))
		return
	}
	if err != nil {
		s.refused(t, tc, err)
		return
	}
	if !slices.ContainsFunc(req.Dropped, func(name string) bool { return related(name, tc.param) }) {
		_, body := s.sent(t)
		t.Fatalf("%s is lost: the server saw %s, and dropped is %q", tc.param, body, req.Dropped)
	}
}

// refused checks that a request was refused by name, before any call.
func (s *subject) refused(t *testing.T, tc requestCase, err error) {
	t.Helper()
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || e.Reason != provider.ReasonUnsupported || e.Message == "" || !related(e.Param, tc.param) {
		t.Errorf("failed with %v, want %s refused as unsupported, carried over or dropped", err, tc.param)
	}
	s.notCalled(t)
}

var place = regexp.MustCompile(`\.\d+`)

// related says whether a named member is the one in question, or contains it,
// or is contained in it.
func related(named, param string) bool {
	named = place.ReplaceAllString(named, "")
	return named != "" && (named == param || strings.HasPrefix(named, param+".") || strings.HasPrefix(param, named+"."))
}

// native returns what the server is to see of a client's body: the members that
// differ, in its own dialect.
func (s *subject) native(t testing.TB, asked, members string) []byte {
	t.Helper()
	if s.Bodies == nil {
		asked = with(t, asked, `{"model":`+string(JSON(s.Model))+`}`)
	} else {
		asked = s.Plain
	}
	all := object(t, asked)
	if members != "" {
		maps.Copy(all, object(t, members))
	}
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return JSON(all)
}

func object(t testing.TB, raw string) Object {
	t.Helper()
	var o Object
	if err := decode([]byte(raw), &o); err != nil {
		t.Fatalf("reading %s: %v", raw, err)
	}
	return o
}

func decode(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(v)
}

func sameJSON(t testing.TB, got, want []byte) {
	t.Helper()
	var g, w any
	if err := decode(got, &g); err != nil {
		t.Fatalf("the server saw no JSON: %s", got)
	}
	if err := decode(want, &w); err != nil {
		t.Fatalf("reading %s: %v", want, err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("the server saw\n     %s\nwant %s", JSON(g), JSON(w))
	}
}

// continues checks that a begun answer is sent as the dialect requires, if the
// operator says that the models continue one.
func continues(t *testing.T, d *Dialect) {
	for _, on := range []bool{true, false} {
		s := d.start(t, upstream.Upstream{APIKey: configuredKey, Continue: &on})
		c, ok := s.Provider.(provider.Continuer)
		if !ok {
			t.Fatal("it is unknown whether the models can continue an answer: want a provider.Continuer")
		}
		if got := c.Continues(d.Model); got != on {
			t.Errorf("Continues is %v where the operator says %v", got, on)
		}
		if !on {
			continue
		}
		s.Answer(http.StatusOK, d.streamType(), join(d.Events(hi)), Whole)
		req := d.request(plainBody)
		req.Continue = "Once upon"
		a := streamOf(t.Context(), t, s, req)
		if a.Err != nil || a.Text != hi.Text() {
			t.Errorf("got %q, %v", a.Text, a.Err)
		}
		_, body := s.sent(t)
		want := object(t, d.Continued)
		maps.Copy(want, object(t, d.StreamMembers))
		sameJSON(t, body, s.native(t, plainBody, string(JSON(want))))
		for _, members := range []string{
			`{"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":` + schemaOf + `}}}`,
			`{` + tools + `,"tool_choice":"required"}`,
			`{"messages":[` + user + `,{"role":"assistant","content":"Once"}]}`,
			`{"n":2}`,
		} {
			req := d.request(with(t, plainBody, members))
			req.Continue = "Once upon"
			_, err := s.Complete(t.Context(), req)
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported {
				t.Errorf("%s: failed with %v, want what cannot be continued refused as unsupported", members, err)
			}
			s.notCalled(t)
		}
	}
}
