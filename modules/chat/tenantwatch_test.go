package chat

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// watched is a watch of a folder whose events the test makes.
type watched struct {
	t      *testing.T
	dir    string
	events chan fsnotify.Event
	errors chan error

	mu    sync.Mutex
	looks int // at which something had changed
	ids   []string
}

func watchFolder(t *testing.T) (*watched, *tenantWatch) {
	dir := t.TempDir()
	files, err := newTenantFiles([]string{filepath.Join(dir, "*.json")}, nil, caddy.NewReplacer())
	must(t, err)
	files.lookAtAll()
	x := &watched{t: t, dir: dir, events: make(chan fsnotify.Event), errors: make(chan error)}
	w := &tenantWatch{
		files: files, log: zap.NewNop(), events: x.events, errors: x.errors,
		names: make(map[string]bool), quit: make(chan struct{}), done: make(chan struct{}),
	}
	w.apply = func(reg *tenant.Registry, _ []fileFailure) {
		if reg == nil {
			return
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.looks++
		x.ids = nil
		for _, t := range reg.All() {
			x.ids = append(x.ids, t.ID)
		}
	}
	go w.run()
	synctest.Wait()
	return x, w
}

func (x *watched) write(name, text string) string {
	name = filepath.Join(x.dir, name)
	must(x.t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func (x *watched) event(name string) {
	x.events <- fsnotify.Event{Name: name, Op: fsnotify.Write}
	synctest.Wait()
}

// after lets time pass and checks how often and with what the tenants were set.
func (x *watched) after(d time.Duration, looks int, ids ...string) {
	x.t.Helper()
	<-time.After(d) // the bubble's time
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.looks != looks || !slices.Equal(x.ids, ids) {
		x.t.Errorf("the tenants were set %d times, to %v; want %d times, %v", x.looks, x.ids, looks, ids)
	}
}

func TestTenantWatch(t *testing.T) {
	for name, test := range map[string]func(*watched){
		"a file is read when it is left alone": func(x *watched) {
			a := x.write("a.json", `{"id":"acme"}`)
			x.event(a)
			x.after(quietTime/2, 0)
			x.event(a)
			x.after(quietTime*3/4, 0)
			x.after(quietTime/2, 1, "acme")
		},
		"a file that is written all the time is read nevertheless": func(x *watched) {
			a := x.write("a.json", `{"id":"acme"}`)
			for range mostDelay / (quietTime / 2) {
				x.event(a)
				<-time.After(quietTime / 2)
			}
			x.after(0, 1, "acme")
		},
		"only what the events name is read": func(x *watched) {
			a := x.write("a.json", `{"id":"acme"}`)
			x.write("b.json", `{"id":"globex"}`)
			x.event(a)
			x.after(time.Second, 1, "acme")
		},
		"other files are nothing": func(x *watched) {
			x.write("a.json", `{"id":"acme"}`)
			x.event(x.write("a.json.tmp", "x"))
			x.event(filepath.Join(x.dir, "gone.tmp"))
			x.after(time.Second, 0)
		},
		"lost events lead to a look at all files": func(x *watched) {
			x.write("a.json", `{"id":"acme"}`)
			x.errors <- errors.New("overflow")
			x.after(time.Second, 1, "acme")
		},
		"without events all files are looked at in a while": func(x *watched) {
			x.write("a.json", `{"id":"acme"}`)
			x.after(lookInterval-time.Second, 0)
			x.after(2*time.Second, 1, "acme")
			x.after(10*lookInterval, 1, "acme")
			must(x.t, os.Remove(filepath.Join(x.dir, "a.json")))
			x.after(lookInterval, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, w := watchFolder(t)
				test(x)
				w.stop()
			})
		})
	}
}
