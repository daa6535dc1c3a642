package providertest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// statusOverloaded is Anthropic's, which others have taken over.
const statusOverloaded = 529

// failures checks what becomes of an answer with an error status.
func failures(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	for _, tc := range []struct {
		status int
		reason provider.Reason
	}{
		{http.StatusBadRequest, provider.ReasonInvalid},
		{http.StatusUnauthorized, provider.ReasonCredentials},
		{http.StatusForbidden, provider.ReasonCredentials},
		{http.StatusNotFound, provider.ReasonModel},
		{http.StatusRequestTimeout, provider.ReasonUnavailable},
		{http.StatusConflict, provider.ReasonUnavailable},
		{http.StatusRequestEntityTooLarge, provider.ReasonInvalid},
		{http.StatusUnprocessableEntity, provider.ReasonInvalid},
		{http.StatusTooManyRequests, provider.ReasonRateLimited},
		{http.StatusInternalServerError, provider.ReasonUnavailable},
		{http.StatusBadGateway, provider.ReasonUnavailable},
		{http.StatusServiceUnavailable, provider.ReasonUnavailable},
		{statusOverloaded, provider.ReasonUnavailable},
	} {
		reasons := []provider.Reason{tc.reason}
		if tc.status == http.StatusRequestEntityTooLarge {
			// Some providers name the reason.
			reasons = append(reasons, provider.ReasonContextLength)
		}
		t.Run(fmt.Sprint(tc.status), func(t *testing.T) {
			header := http.Header{"Content-Type": {"application/json"}, "Retry-After": {"7"}}
			s.Answer(tc.status, header, s.Failure(tc.status, "it went wrong"), Whole)
			s.fails(t, tc.status, "it went wrong", reasons...)
		})
		t.Run(fmt.Sprint(tc.status, " of a proxy"), func(t *testing.T) {
			s.Answer(tc.status, http.Header{"Content-Type": {"text/html"}, "Retry-After": {"7"}}, []byte("<html>no</html>"), Whole)
			s.fails(t, tc.status, "", reasons...)
		})
	}
	for name, tc := range map[string]struct {
		Refusal
		reason provider.Reason
	}{
		"too long": {d.TooLong, provider.ReasonContextLength},
		"filtered": {d.Filtered, provider.ReasonContentFiltered},
	} {
		if tc.Status == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s.Answer(tc.Status, http.Header{"Retry-After": {"7"}}, []byte(tc.Body), Whole)
			s.fails(t, tc.Status, "", tc.reason)
		})
	}
	t.Run("redirect", func(t *testing.T) { redirect(t, s) })
	t.Run("connection refused", func(t *testing.T) { connectionRefused(t, d) })
}

// fails makes calls that fail, and checks how.
func (s *subject) fails(t *testing.T, status int, message string, reasons ...provider.Reason) {
	s.both(t, func(t *testing.T, ask asking) {
		err := ask(t.Context(), t, s, s.request(plainBody)).Err
		e, ok := errors.AsType[*provider.Error](err)
		switch {
		case !ok || !slices.Contains(reasons, e.Reason) || e.Status != status:
			t.Errorf("failed with %#v, want reason %d of status %d", err, reasons, status)
		case e.Overloaded != (status == http.StatusServiceUnavailable || status == statusOverloaded):
			t.Errorf("it is overloaded: %t", e.Overloaded)
		case message != "" && e.Message != message:
			t.Errorf("the message is %q, want %q", e.Message, message)
		case status >= 400 && e.RetryAfter != 7*time.Second:
			t.Errorf("to try again after %s, want 7s", e.RetryAfter)
		}
	})
}

// redirect checks that redirects are not followed, because they would carry the
// key elsewhere.
func redirect(t *testing.T, s *subject) {
	other := NewReplay(t)
	other.Answer(http.StatusOK, jsonType, s.Whole(hi), Whole)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		s.Answer(status, http.Header{"Location": {other.URL}}, nil, Whole)
		s.both(t, func(t *testing.T, ask asking) {
			err := ask(t.Context(), t, s, s.request(plainBody)).Err
			if _, ok := errors.AsType[*provider.Error](err); !ok {
				t.Errorf("%d: failed with %v, want a *provider.Error", status, err)
			}
		})
	}
	if requests, _ := other.Requests(); len(requests) > 0 {
		t.Errorf("%d redirects were followed", len(requests))
	}
}

// connectionRefused checks what becomes of a refused connection.
func connectionRefused(t *testing.T, d *Dialect) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	p := d.New(t, upstream.Upstream{BaseURL: gone.URL, APIKey: configuredKey})
	s := &subject{d, nil, p}
	s.both(t, func(t *testing.T, ask asking) {
		err := ask(t.Context(), t, p, d.request(plainBody)).Err
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnavailable {
			t.Errorf("failed with %v, want it unavailable", err)
		}
	})
}
