package tenants

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// fileTest is a site whose tenants are in files below dir.
type fileTest struct {
	*testing.T
	c   *harness.Caddy
	dir string
}

// startFiles starts the site with tenants of these patterns in a folder, and what
// is there already.
func startFiles(t *testing.T, dir, more string, patterns ...string) *fileTest {
	options := "chat {\n" + more + "\ntenants"
	for _, p := range patterns {
		options += " " + filepath.Join(dir, p)
	}
	return &fileTest{t, harness.StartSites(t, options+"\n}", "http://:{$PORT} {\ntenant_resolve\nai_gateway echo\n}"), dir}
}

// want waits until these are the tenants, of those that the tests use.
func (f *fileTest) want(what string, ids ...string) {
	f.Helper()
	harness.Eventually(f, what, func() bool {
		for _, id := range []string{"acme", "globex", "initech", "umbrella"} {
			status := harness.NewClient(f.c, id, "").Call(http.MethodGet, "/v1/models", nil, new(map[string]any))
			if (status == http.StatusOK) != strings.Contains(" "+strings.Join(ids, " ")+" ", " "+id+" ") {
				return false
			}
		}
		return true
	})
}

// wantStates waits until so many files are loaded and broken.
func (f *fileTest) wantStates(loaded, broken float64) {
	f.Helper()
	f.c.WantMetrics(map[string]float64{
		`caddy_chat_tenant_files{state="loaded"}`: loaded,
		`caddy_chat_tenant_files{state="broken"}`: broken,
	})
}

// wantHealth checks what a tenant hears of the server's health.
func (f *fileTest) wantHealth(tenant, want string) {
	f.Helper()
	var health struct{ Data struct{ Status string } }
	if harness.NewClient(f.c, tenant, "").Call(http.MethodGet, "/v1/health", nil, &health); health.Data.Status != want {
		f.Errorf("the health is %q, want %q", health.Data.Status, want)
	}
}

func (f *fileTest) write(name, text string) {
	f.Helper()
	writeFile(f, filepath.Join(f.dir, name), text)
}

func (f *fileTest) tenant(id string) { f.write(id+".json", `{"id":"`+id+`"}`) }

func (f *fileTest) remove(name string) {
	f.Helper()
	if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
		f.Fatal(err)
	}
}

func (f *fileTest) link(target, name string) {
	f.Helper()
	if err := os.Symlink(target, filepath.Join(f.dir, name)); err != nil {
		f.Fatal(err)
	}
}

// breaks are the ways in which a file can be broken.
var breaks = map[string]func(f *fileTest, name string){
	"half-written":   func(f *fileTest, name string) { f.write(name, `{"id":"acm`) },
	"empty":          func(f *fileTest, name string) { f.write(name, "") },
	"a mistake":      func(f *fileTest, name string) { f.write(name, `{"id":"acme","colour":1}`) },
	"a missing key":  func(f *fileTest, name string) { f.write(name, `{"id":"acme","api_keys":["{env.NO_SUCH_KEY}"]}`) },
	"a taken id":     func(f *fileTest, name string) { f.write(name, `{"id":"globex"}`) },
	"a block's id":   func(f *fileTest, name string) { f.write(name, `{"id":"initech"}`) },
	"a taken host":   func(f *fileTest, name string) { f.write(name, `{"id":"acme","hosts":["new.test","globex.test"]}`) },
	"a taken key":    func(f *fileTest, name string) { f.write(name, `{"id":"acme","api_keys":["globex-key"]}`) },
	"a block's host": func(f *fileTest, name string) { f.write(name, `{"id":"acme","hosts":["initech.test"]}`) },
	"a folder": func(f *fileTest, name string) {
		f.remove(name)
		if err := os.Mkdir(filepath.Join(f.dir, name), 0o700); err != nil {
			f.Fatal(err)
		}
	},
	"a link to nothing": func(f *fileTest, name string) {
		f.link("nothing", "new-link")
		if err := os.Rename(filepath.Join(f.dir, "new-link"), filepath.Join(f.dir, name)); err != nil {
			f.Fatal(err)
		}
	},
	"a gigabyte": func(f *fileTest, name string) {
		huge := filepath.Join(f.dir, "huge")
		if err := os.WriteFile(huge, []byte("{"), 0o600); err != nil {
			f.Fatal(err)
		}
		if err := os.Truncate(huge, 1<<30); err != nil {
			f.Fatal(err)
		}
		if err := os.Rename(huge, filepath.Join(f.dir, name)); err != nil {
			f.Fatal(err)
		}
	},
}

// A file that breaks keeps its tenant, and is left out after a restart. The other
// files count in both cases.
func TestBrokenTenantFile(t *testing.T) {
	t.Parallel()
	for name, breakIt := range breaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// the broken file comes first by name
			dir := t.TempDir()
			f := &fileTest{T: t, dir: dir}
			f.write("acme.json", `{"id":"acme"}`)
			f.write("other.json", `{"id":"globex","hosts":["globex.test"],"metadata":{"plan":"gold"}}`)
			f.write("keyed.json", `{"id":"keyed","api_keys":["globex-key"]}`)
			f = startFiles(t, dir, "tenant initech {\nhost initech.test\n}", "*.json")
			f.wantStates(3, 0)
			f.wantHealth("acme", "ok")

			breakIt(f, "acme.json")
			f.wantStates(2, 1)
			f.want("the broken file keeps its tenant", "acme", "globex", "initech")
			f.wantHealth("globex", "degraded")

			// another file comes, and one goes
			f.tenant("umbrella")
			f.want("the others count", "acme", "globex", "initech", "umbrella")
			f.remove("umbrella.json")
			f.want("a removed file removes its tenant", "acme", "globex", "initech")

			f.c.Stop()
			f.c.Run()
			if strings.HasPrefix(name, "a taken") {
				// the broken file comes first by name, so that now the other one is left out
				f.wantStates(2, 1)
				return
			}
			f.want("it is left out after a start", "globex", "initech")
			f.wantStates(2, 1)
			f.wantHealth("globex", "degraded")
			if out := f.c.Log.String(); !strings.Contains(out, "acme.json") || !strings.Contains(out, "its tenant is away") {
				f.Errorf("the log does not name the file: %s", out)
			}

			f.remove("acme.json")
			f.tenant("acme")
			f.want("it is mended", "acme", "globex", "initech")
			f.wantStates(3, 0)
			f.wantHealth("globex", "ok")
		})
	}
}

// What one file gives up another one can take, in one step or later.
func TestTenantFilesExchangeHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fileTest{T: t, dir: dir}
	f.write("a.json", `{"id":"acme","hosts":["one.test"]}`)
	f.write("b.json", `{"id":"globex","hosts":["two.test"]}`)
	f = startFiles(t, dir, "", "*.json")
	owner := func(want string) func() bool {
		return func() bool {
			resp := harness.Visit(f.c, http.MethodGet, "/v1/health", "one.test")
			return strings.Contains(harness.ReadAll(f, resp), `"tenantId":"`+want+`"`)
		}
	}
	harness.Eventually(f, "acme has the host", owner("acme"))
	f.write("b.json", `{"id":"globex","hosts":["one.test"]}`)
	f.wantStates(1, 1)
	if !owner("acme")() {
		f.Error("a host is taken away")
	}
	f.write("a.json", `{"id":"acme"}`)
	harness.Eventually(f, "globex has what acme gave up", owner("globex"))
	f.wantStates(2, 0)
}

// Folders come, go, and are replaced.
func TestTenantFolders(t *testing.T) {
	t.Parallel()
	t.Run("missing at the start", func(t *testing.T) {
		t.Parallel()
		f := startFiles(t, t.TempDir(), "tenant initech", "later/tenants/*.json")
		f.want("the block counts", "initech")
		f.write("later/tenants/acme.json", `{"id":"acme"}`)
		f.want("the folder has come", "acme", "initech")
		f.remove("later")
		f.want("the folder has gone", "initech")
		f.write("later/tenants/acme.json", `{"id":"acme"}`)
		f.want("it has come again", "acme", "initech")
	})
	t.Run("no tenant at all", func(t *testing.T) {
		t.Parallel()
		f := startFiles(t, t.TempDir(), "", "*.json")
		harness.WantFailure(f, harness.NewClient(f.c, "", "").Do(http.MethodGet, "/v1/models", nil), http.StatusBadRequest, "tenant_required")
		f.tenant("acme")
		f.want("the first file counts", "acme")
	})
	t.Run("folders by pattern", func(t *testing.T) {
		t.Parallel()
		f := startFiles(t, t.TempDir(), "tenant initech", "*/*.json", "more.json")
		f.write("eu/acme.json", `{"id":"acme"}`)
		f.write("us/globex.json", `{"id":"globex"}`)
		f.write("more.json", `{"id":"umbrella"}`)
		f.want("all count", "acme", "globex", "initech", "umbrella")
		f.remove("eu")
		if err := os.Rename(filepath.Join(f.dir, "us"), filepath.Join(f.dir, "asia")); err != nil {
			f.Fatal(err)
		}
		f.want("one is gone, one is renamed", "globex", "initech", "umbrella")
		f.write("asia/globex.json", `{"id":"acme"}`)
		f.want("the renamed one is watched", "acme", "initech", "umbrella")
	})
	t.Run("a ConfigMap", func(t *testing.T) {
		t.Parallel()
		f := startFiles(t, t.TempDir(), "tenant initech", "*.json")
		version := func(n int, text string) {
			f.write(fmt.Sprintf("..version-%d/acme.json", n), text)
			f.link(fmt.Sprintf("..version-%d", n), "..data_tmp")
			if err := os.Rename(filepath.Join(f.dir, "..data_tmp"), filepath.Join(f.dir, "..data")); err != nil {
				f.Fatal(err)
			}
		}
		version(1, `{"id":"acme"}`)
		f.link("..data/acme.json", "acme.json")
		f.want("the first version counts", "acme", "initech")
		version(2, `{"id":"globex"}`)
		f.remove("..version-1")
		f.want("the second version counts", "globex", "initech")
	})
	t.Run("links to files elsewhere", func(t *testing.T) {
		t.Parallel()
		f := startFiles(t, t.TempDir(), "tenant initech", "enabled/*.json")
		f.write("available/one.json", `{"id":"acme"}`)
		if err := os.Mkdir(filepath.Join(f.dir, "enabled"), 0o700); err != nil {
			f.Fatal(err)
		}
		f.link("../available/one.json", "enabled/one.json")
		f.want("the link counts", "acme", "initech")
		f.write("available/one.json", `{"id":"globex"}`)
		f.want("its target is watched", "globex", "initech")
	})
	t.Run("a folder that is a link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		f := &fileTest{T: t, dir: dir}
		f.write("v1/a.json", `{"id":"acme"}`)
		f.write("v2/a.json", `{"id":"globex"}`)
		f.link("v1", "current")
		f = startFiles(t, dir, "", "current/*.json")
		f.want("the first", "acme")
		f.link("v2", "new")
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "current")); err != nil {
			f.Fatal(err)
		}
		f.want("the second", "globex")
	})
	t.Run("files of editors", func(t *testing.T) {
		t.Parallel()
		f := startFiles(t, t.TempDir(), "tenant initech", "*.json")
		for _, name := range []string{".acme.json", "acme.json~", ".acme.json.swp", "#acme.json#", "acme.json.tmp"} {
			f.write(name, `{"id":"acme"}`)
		}
		f.link("ann@host.1234", ".#acme.json")
		f.tenant("globex")
		f.want("only the file itself counts", "globex", "initech")
		f.wantStates(1, 0)
	})
}
