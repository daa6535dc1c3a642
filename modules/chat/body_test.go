package chat

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/record"
)

func read(r *http.Request, limit int64) ([]byte, error) {
	x := &Exchange{W: httptest.NewRecorder(), R: r, Rec: new(record.Record)}
	return x.ReadBody(limit, time.Minute)
}

func TestCheckedBody(t *testing.T) {
	const doc = `{"model":"m"}`
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("other"))
		r.Header.Set("Content-Type", "application/json")
		SetCheckedBody(r, []byte(doc))
		return r
	}
	t.Run("taken_as_it_is", func(t *testing.T) {
		got, err := read(request(), int64(len(doc)))
		if err != nil || string(got) != doc {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("too_large", func(t *testing.T) {
		if got, err := read(request(), int64(len(doc))-1); err == nil {
			t.Errorf("%q is taken", got)
		}
	})
	t.Run("any_reader_reads_it", func(t *testing.T) {
		r := request()
		r.Body = io.NopCloser(io.LimitReader(r.Body, 100))
		got, err := read(r, 100)
		if err != nil || string(got) != doc || r.ContentLength != int64(len(doc)) || r.Header.Get("Content-Length") != "13" {
			t.Errorf("%q, %v, %d", got, err, r.ContentLength)
		}
	})
}

func TestReadBodyLength(t *testing.T) {
	// what a Content-Length announces is no reason to make room for it
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{}`))
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = 1 << 40
	n := testing.AllocsPerRun(100, func() {
		r.Body = io.NopCloser(strings.NewReader(`{}`))
		if _, err := read(r, 1<<41); err != nil {
			t.Fatal(err)
		}
	})
	if n > 40 { // the race detector has some of its own
		t.Errorf("%v allocations", n)
	}
}
