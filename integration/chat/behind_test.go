package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// lonelySessions returns the paths of the sessions that a log says have no model.
func lonelySessions(log string) []string {
	var paths []string
	for line := range strings.Lines(log) {
		var w struct{ Level, Msg, Path string }
		if json.Unmarshal([]byte(line), &w) == nil && w.Level == "warn" && strings.HasPrefix(w.Msg, "no handler behind chat_session") {
			paths = append(paths, w.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

func TestNothingBehind(t *testing.T) {
	for _, tt := range []struct {
		name, site string
		want       []string
	}{
		{"alone", "chat_session", []string{"/chat"}},
		{"pages", "tenant_resolve\nencode\nheader X-A b\nchat_session\nfile_server", []string{"/chat"}},
		{"a_catch_all", "chat_session {\npath /talk\n}\nrespond 404", []string{"/talk"}},
		{"a_gateway", "tenant_resolve\nchat_session\nai_gateway echo\nrespond 404", nil},
		{"a_gateway_with_a_matcher", "chat_session\n@v1 path /v1/*\nai_gateway @v1 echo", nil},
		{"a_proxy", "chat_session\nreverse_proxy 127.0.0.1:1", nil},
		{"a_proxy_in_handle", "chat_session\nhandle /v1/* {\nreverse_proxy 127.0.0.1:1\n}", nil},
		{"php", "chat_session\nroot .\nphp_fastcgi 127.0.0.1:1", nil},
		{"both_in_handle", "handle /chat* {\nchat_session\nai_gateway echo\n}\nhandle {\nfile_server\n}", nil},
		{"the_gateway_in_the_other_handle", "handle /chat* {\nchat_session\n}\nhandle {\nai_gateway echo\n}", []string{"/chat"}},
		{"a_gateway_behind_handle", "route {\nhandle /chat* {\nchat_session\n}\nai_gateway echo\n}", nil},
		{"the_gateway_in_front", "route {\nai_gateway echo\nchat_session\n}", []string{"/chat"}},
		{"one_of_two", "route /a/* {\nchat_session {\npath /a/chat\n}\nai_gateway echo\n}\nroute /b/* {\nchat_session {\npath /b/chat\n}\n}", []string{"/b/chat"}},
		{"another_site's_gateway", "chat_session\n}\nhttp://a.test:8080 {\nai_gateway echo", []string{"/chat"}},
		{"a_named_route", "chat_session\ninvoke models\n}\n&(models) {\nai_gateway echo", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			named := ""
			site, rest, ok := strings.Cut(tt.site, "&(models)")
			if ok {
				site, named = strings.TrimSuffix(site, "\n}\n"), "&(models)"+rest+"\n}\n"
			}
			config := "{\nadmin off\nauto_https off\n}\n" + named + "http://:8080 {\n" + site + "\n}\n"
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := lonelySessions(out); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q\n%s", got, tt.want, out)
			}
		})
	}
	t.Run("at_the_start", func(t *testing.T) {
		c := harness.Start(t, "", "tenant_resolve\nchat_session")
		harness.Eventually(t, "the log has the path", func() bool {
			return slices.Equal(lonelySessions(c.Log.String()), []string{"/chat"})
		})
	})
}
