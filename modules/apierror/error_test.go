package apierror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestFrom(t *testing.T) {
	cause := errors.New("secret cause")
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"one of ours", SessionBusy(), 409, "session_busy"},
		{"one of ours, wrapped", fmt.Errorf("posting: %w", SessionBusy().Because(cause)), 409, "session_busy"},
		{"a client that went away", fmt.Errorf("reading: %w", context.Canceled), 499, "cancelled"},
		{"anything else", cause, 500, "internal_error"},
	} {
		e := From(tt.err)
		if e.Status != tt.status || e.Code != tt.code || strings.Contains(e.Message, "secret") {
			t.Errorf("%s: got %d %s %q", tt.name, e.Status, e.Code, e.Message)
		}
	}
	if e := StorageUnavailable(cause); !errors.Is(e, cause) || strings.Contains(e.Message, "secret") {
		t.Errorf("the cause is lost or shown: %q", e.Message)
	}
}

func TestBecauseLeavesTheOriginal(t *testing.T) {
	e := AIError()
	if with := e.Because(errors.New("x")); e.Err != nil || with.Err == nil || with.Code != e.Code {
		t.Errorf("got %v of %v", with, e)
	}
}

func TestFromProvider(t *testing.T) {
	const said = "bad field for sk-0123456789abcdefghij at http://10.0.0.5/v1"
	for reason, want := range map[provider.Reason]*Error{
		provider.ReasonRateLimited:     {Status: 429, Code: "provider_rate_limited", RetryAfter: 3 * time.Second},
		provider.ReasonContentFiltered: {Status: 400, Code: "content_filtered"},
		provider.ReasonContextLength:   {Status: 400, Code: "invalid_request"},
		provider.ReasonInvalid:         {Status: 400, Code: "invalid_request"},
		provider.ReasonCredentials:     {Status: 502, Code: "ai_error"},
		provider.ReasonModel:           {Status: 502, Code: "ai_error"},
		provider.ReasonUnavailable:     {Status: 502, Code: "ai_error"},
		provider.ReasonBadAnswer:       {Status: 502, Code: "ai_error"},
	} {
		got := FromProvider(fmt.Errorf("calling: %w", &provider.Error{Reason: reason, Message: said, RetryAfter: 3 * time.Second}))
		if got.Status != want.Status || got.Code != want.Code || got.RetryAfter != want.RetryAfter {
			t.Errorf("%v: got %d %s %v", reason, got.Status, got.Code, got.RetryAfter)
		}
		if strings.Contains(got.Message, "sk-0123") || strings.Contains(got.Message, "10.0.0.5") {
			t.Errorf("%v: %q", reason, got.Message)
		}
		// what is wrong with a request is passed on, and nothing else
		if told := strings.Contains(got.Message, "bad field"); told != (want.Code == "invalid_request") {
			t.Errorf("%v: %q", reason, got.Message)
		}
	}
	busy := &provider.Error{Reason: provider.ReasonUnavailable, Overloaded: true, Message: said, RetryAfter: 3 * time.Second}
	if got := FromProvider(busy); got.Status != 502 || got.Code != "ai_error" || !got.Overloaded || got.RetryAfter != busy.RetryAfter || strings.Contains(got.Message, "bad field") {
		t.Errorf("overloaded: got %+v", got)
	}
	if got := FromProvider(errors.New(said)); got.Code != "ai_error" {
		t.Errorf("got %s", got.Code)
	}
	if got := FromProvider(&provider.Error{Reason: provider.ReasonInvalid}); got.Message == "" {
		t.Error("no message")
	}
}

func TestFromBody(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		code string
	}{
		"Go's limit":    {&http.MaxBytesError{Limit: 5}, "payload_too_large"},
		"Caddy's limit": {caddyhttp.Error(http.StatusRequestEntityTooLarge, errors.New("x")), "payload_too_large"},
		"cut":           {io.ErrUnexpectedEOF, "invalid_request"},
		"broken":        {errors.New("malformed chunk"), "invalid_request"},
	} {
		if got := FromBody(tt.err, 5); got.Code != tt.code {
			t.Errorf("%s: got %s", name, got.Code)
		}
	}
}

func TestSecondsRoundUp(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 1500 * time.Millisecond: 2, time.Minute: 60} {
		if got := Seconds(d); got != want {
			t.Errorf("Seconds(%v) = %d", d, got)
		}
	}
	for _, e := range []*Error{RateLimited(0), RateLimited(-time.Second), providerRateLimited(0), AIUnavailable(0)} {
		if e.RetryAfter < time.Second {
			t.Errorf("%s: Retry-After %v", e.Code, e.RetryAfter)
		}
	}
}
