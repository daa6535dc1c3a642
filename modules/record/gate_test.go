package record

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// keeper lets in by its Enter alone.
type keeper func() error

func (k keeper) Enter() error { return k() }

func (k keeper) EnterWith(op func([]store.Take) error) error {
	if err := k(); err != nil {
		return err
	}
	return op([]store.Take{{Key: "k", Slots: 1}})
}

func (keeper) Stay() func() { return func() {} }

// TestEnterWith passes two gates with one operation, which takes what the last one needs.
func TestEnterWith(t *testing.T) {
	closed := errors.New("closed")
	open := keeper(func() error { return nil })
	for name, tc := range map[string]struct {
		gates Gates
		takes int // -1 if the operation is not carried out
		want  error
	}{
		"no gate":             {nil, 0, nil},
		"one":                 {Gates{{Keeper: open}}, 1, nil},
		"two":                 {Gates{{Keeper: open}, {Keeper: open}}, 1, nil},
		"the first is closed": {Gates{{Keeper: open}, {Keeper: keeper(func() error { return closed })}}, -1, closed},
	} {
		t.Run(name, func(t *testing.T) {
			takes := -1
			err := tc.gates.EnterWith(func(list []store.Take) error {
				takes = len(list)
				return nil
			})
			if !errors.Is(err, tc.want) || takes != tc.takes {
				t.Errorf("%d takes, %v", takes, err)
			}
		})
	}
}

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
				r.Body = &Gate{r.Body, keeper(func() error {
					if !slices.Contains(entered, name) {
						entered = append(entered, name)
					}
					return err
				})}
			}
			gate("first", nil)
			gate("second", tc.second)
			var gates Gates
			if tc.opens {
				gates = OpenGates(r)
			}
			text, err := io.ReadAll(r.Body)
			if !errors.Is(err, tc.want) || string(text) != tc.text {
				t.Errorf("read %q, %v", text, err)
			}
			if tc.opens {
				if len(entered) > 0 {
					t.Errorf("entered %v before", entered)
				}
				if err := gates.Enter(); !errors.Is(err, tc.second) || !slices.Equal(entered, []string{"first", "second"}) {
					t.Errorf("entered %v, %v", entered, err)
				}
			}
		})
	}
}
