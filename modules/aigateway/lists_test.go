package aigateway

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// listing is a provider whose list each call takes from a script. The last entry
// repeats.
type listing struct {
	calls  atomic.Int64
	script []func(context.Context) ([]string, error)
}

func (l *listing) Models(ctx context.Context, _ *provider.Request) ([]string, error) {
	n := int(l.calls.Add(1))
	return l.script[min(n, len(l.script))-1](ctx)
}

func lists(names ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return names, nil }
}

func hangs(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func noList(context.Context) ([]string, error) { return nil, errors.New("no list") }

func TestModelLists(t *testing.T) {
	of := func(l *modelLists, from *listing) []string {
		return l.of(context.Background(), "p", from, new(provider.Request))
	}
	want := func(t *testing.T, got []string, calls int64, from *listing, names ...string) {
		t.Helper()
		if !slices.Equal(got, names) || from.calls.Load() != calls {
			t.Errorf("%v after %d calls, want %v after %d", got, from.calls.Load(), names, calls)
		}
	}
	for name, do := range map[string]func(*testing.T, *modelLists){
		"a_list_is_kept_and_refreshed_in_the_background": func(t *testing.T, l *modelLists) {
			from := &listing{script: []func(context.Context) ([]string, error){lists("a"), lists("b")}}
			want(t, of(l, from), 1, from, "a")
			time.Sleep(listTTL - time.Second)
			want(t, of(l, from), 1, from, "a")
			time.Sleep(time.Second)
			if got := of(l, from); !slices.Equal(got, []string{"a"}) {
				t.Errorf("the stale list is %v", got)
			}
			synctest.Wait()
			want(t, of(l, from), 2, from, "b")
		},
		"a_failure_keeps_the_list": func(t *testing.T, l *modelLists) {
			from := &listing{script: []func(context.Context) ([]string, error){lists("a"), noList, hangs, lists("b")}}
			want(t, of(l, from), 1, from, "a")
			for i := range 2 {
				time.Sleep(listTTL)
				began := time.Now()
				of(l, from)
				if took := time.Since(began); took != 0 {
					t.Errorf("a request waited %v", took)
				}
				synctest.Wait()
				want(t, of(l, from), int64(2+i), from, "a")
			}
		},
		"a_provider_that_hangs_delays_requests_once": func(t *testing.T, l *modelLists) {
			from := &listing{script: []func(context.Context) ([]string, error){hangs, lists("a")}}
			began := time.Now()
			want(t, of(l, from), 1, from)
			want(t, of(l, from), 1, from)
			if took := time.Since(began); took != listWait {
				t.Errorf("two requests waited %v, want %v", took, listWait)
			}
			time.Sleep(listTimeout)
			want(t, of(l, from), 1, from)
			time.Sleep(listRetry)
			want(t, of(l, from), 2, from, "a")
		},
		"many_requests_make_one_call": func(t *testing.T, l *modelLists) {
			from := &listing{script: []func(context.Context) ([]string, error){func(context.Context) ([]string, error) {
				time.Sleep(time.Second)
				return []string{"a"}, nil
			}}}
			got := make(chan []string)
			for range 50 {
				go func() { got <- of(l, from) }()
			}
			for range 50 {
				want(t, <-got, 1, from, "a")
			}
		},
		"a_client_that_leaves_waits_no_longer": func(t *testing.T, l *modelLists) {
			from := &listing{script: []func(context.Context) ([]string, error){hangs}}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			began := time.Now()
			if got := l.of(ctx, "p", from, new(provider.Request)); got != nil || time.Since(began) != time.Second {
				t.Errorf("%v after %v", got, time.Since(began))
			}
		},
		"each_credential_has_its_list_and_their_number_is_bounded": func(t *testing.T, l *modelLists) {
			for i := range 2*maxLists + 1 {
				from := &listing{script: []func(context.Context) ([]string, error){lists(strconv.Itoa(i))}}
				got := l.of(context.Background(), "p", from, &provider.Request{APIKey: strconv.Itoa(i)})
				want(t, got, 1, from, strconv.Itoa(i))
			}
			if n := len(l.byKey); n > maxLists {
				t.Errorf("%d lists", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				do(t, newModelLists(zap.NewNop()))
				time.Sleep(listTimeout) // a call may still be running
			})
		})
	}
}
