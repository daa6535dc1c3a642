package record

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestGate(t *testing.T) {
	closed := errors.New("closed")
	for name, tc := range map[string]struct {
		second error // of the second gate, which is in front
		opens  bool  // whether the gates are taken off first
		want   error
		text   string
	}{
		"a_reader_enters_with_its_first_read":   {nil, false, nil, "body"},
		"a_reader_that_may_not_enter_fails":     {closed, false, closed, ""},
		"gates_that_are_off_do_not_stop_a_read": {closed, true, nil, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body"))
			var entered []string
			gate := func(name string, err error) {
				r.Body = &Gate{r.Body, func() error {
					if !slices.Contains(entered, name) {
						entered = append(entered, name)
					}
					return err
				}}
			}
			gate("first", nil)
			gate("second", tc.second)
			enter := func() error { return nil }
			if tc.opens {
				enter = OpenGates(r)
			}
			text, err := io.ReadAll(r.Body)
			if !errors.Is(err, tc.want) || string(text) != tc.text {
				t.Errorf("read %q, %v", text, err)
			}
			if tc.opens {
				if len(entered) > 0 {
					t.Errorf("entered %v before", entered)
				}
				if err := enter(); !errors.Is(err, tc.second) || !slices.Equal(entered, []string{"first", "second"}) {
					t.Errorf("entered %v, %v", entered, err)
				}
			}
		})
	}
}
