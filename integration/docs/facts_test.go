package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/aigateway"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chatratelimit"
	"github.com/caddy-chat/caddy-chat/modules/chatsession"
	"github.com/caddy-chat/caddy-chat/modules/provider/anthropic"
	"github.com/caddy-chat/caddy-chat/modules/provider/bedrock"
	"github.com/caddy-chat/caddy-chat/modules/provider/cloudflare"
	"github.com/caddy-chat/caddy-chat/modules/provider/echo"
	"github.com/caddy-chat/caddy-chat/modules/provider/gemini"
	"github.com/caddy-chat/caddy-chat/modules/provider/ollama"
	"github.com/caddy-chat/caddy-chat/modules/provider/openai"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/store/badger"
	"github.com/caddy-chat/caddy-chat/modules/store/redis"
	"github.com/caddy-chat/caddy-chat/modules/tenantresolve"
)

// TestDocsName checks that the pages name everything that is in the code.
func TestDocsName(t *testing.T) {
	t.Run("every page in the index", func(t *testing.T) {
		index := readPage(t, docsDir+"/README.md").text
		for _, p := range readPages(t) {
			if p.name != "README.md" && !strings.Contains(index, "]("+p.name+")") {
				t.Errorf("docs/README.md has no link to %s", p.name)
			}
		}
	})
	t.Run("every option", func(t *testing.T) {
		for name, configs := range map[string][]any{
			"chat.md":           {chat.App{}, chat.TenantConfig{}, badger.Badger{}},
			"store_redis.md":    {redis.Redis{}},
			"tenant_resolve.md": {tenantresolve.Handler{}, tenantresolve.Source{}, tenantresolve.JWT{}},
			"chat_ratelimit.md": {chatratelimit.Handler{}},
			"chat_session.md":   {chatsession.Handler{}},
			"ai_gateway.md":     {aigateway.Handler{}, aigateway.Model{}, aigateway.Price{}, aigateway.CircuitBreaker{}, upstream.Upstream{}},
			"providers.md":      {openai.OpenAI{}, openai.Azure{}, anthropic.Anthropic{}, gemini.Gemini{}, ollama.Ollama{}, cloudflare.Cloudflare{}, bedrock.Bedrock{}, echo.Echo{}},
		} {
			for _, config := range configs {
				wantNames(t, name, jsonNames(reflect.TypeOf(config)))
			}
		}
	})
	t.Run("every metric", func(t *testing.T) {
		wantNames(t, "metrics.md", harness.Found(t, "modules/chat/metrics.go", `"(caddy_(?:ai|chat)_\w+)"`))
	})
	t.Run("only existing metrics", func(t *testing.T) {
		code := harness.Found(t, "modules/chat/metrics.go", `"(caddy_(?:ai|chat)_\w+)"`)
		for _, name := range harness.Found(t, "docs/metrics.md", "`(caddy_(?:ai|chat)_\\w+)`") {
			if !slices.Contains(code, name) {
				t.Errorf("metrics.md names %s, which is not a metric", name)
			}
		}
	})
	t.Run("every field of the access log", func(t *testing.T) {
		wantNames(t, "metrics.md", harness.Found(t, "modules/chat/logfields.go", `enc\.Add\w+\("(\w+)"`))
	})
	t.Run("every error code", func(t *testing.T) {
		wantNames(t, "errors.md", harness.Found(t, "modules/apierror/error.go", `Code: "(\w+)"`))
	})
}

// wantNames checks that a page shows each of the names as code.
func wantNames(t testing.TB, name string, names []string) {
	t.Helper()
	if len(names) == 0 {
		t.Fatalf("nothing to look for in %s", name)
	}
	text := readPage(t, docsDir+"/"+name).text
	for _, n := range names {
		if !strings.Contains(text, "`"+n+"`") {
			t.Errorf("%s does not name `%s`", name, n)
		}
	}
}

// jsonNames returns the names of a configuration's JSON members.
func jsonNames(typ reflect.Type) []string {
	var names []string
	for f := range typ.Fields() {
		if f.Anonymous {
			names = append(names, jsonNames(f.Type)...)
		} else if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// TestDocsDependencies compares docs/dependencies.md with what the go.mod
// files require directly.
func TestDocsDependencies(t *testing.T) {
	used := importedBy(t)
	direct := harness.Found(t, "go.mod", `(?m)^\t(\S+) v\S+$`)
	var product, testsOnly []string
	for _, mod := range direct {
		if slices.ContainsFunc(used, func(pkg string) bool { return pkg == mod || strings.HasPrefix(pkg, mod+"/") }) {
			product = append(product, mod)
		} else {
			testsOnly = append(testsOnly, mod)
		}
	}
	tools := func(file string) []string { return harness.Found(t, file, `(?m)^tool (\S+?)(?:/v\d+)?/cmd/\S+$`) }

	shown := dependencyRows(t)
	wantRows(t, "In the binary", product, shown)
	wantRows(t, "In tests only", testsOnly, shown)
	wantRows(t, "For building", append(harness.Found(t, "xcaddy-build/go.mod", `(?m)^\t(\S+) v\S+$`), tools("xcaddy-build/go.mod")...), shown)
	wantRows(t, "For linting", tools(".ci/tools/go.mod"), shown)
	for _, mod := range shown["In the binary"] {
		if !slices.Contains(direct, mod) {
			t.Errorf("dependencies.md names %s, which go.mod does not require", mod)
		}
	}
}

func wantRows(t testing.TB, section string, mods []string, shown map[string][]string) {
	t.Helper()
	if len(mods) == 0 {
		t.Fatalf("nothing to look for under %q", section)
	}
	for _, mod := range mods {
		if !slices.Contains(shown[section], mod) {
			t.Errorf("dependencies.md has no row for %s under %q", mod, section)
		}
	}
}

// dependencyRows returns the modules of the page's tables, by heading.
func dependencyRows(t testing.TB) map[string][]string {
	t.Helper()
	rows := make(map[string][]string)
	section := ""
	for line := range strings.Lines(readPage(t, docsDir+"/dependencies.md").text) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(heading)
		}
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			mod, _, _ := strings.Cut(cell, "`")
			rows[section] = append(rows[section], mod)
		}
	}
	return rows
}

// isTest reports whether a file is for tests only.
func isTest(file string) bool {
	dir := filepath.Base(filepath.Dir(file))
	return strings.HasSuffix(file, "_test.go") || strings.HasSuffix(dir, "test")
}

// importedBy returns the packages that the modules import.
func importedBy(t testing.TB) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir("../../modules", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" || isTest(file) {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			list = append(list, strings.Trim(imp.Path.Value, `"`))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
