package record

import "testing"

func TestCleanPath(t *testing.T) {
	for path, want := range map[string]string{
		"":                             "",
		"/":                            "/",
		"//":                           "/",
		"/chat":                        "/chat",
		"/chat/":                       "/chat",
		"//chat///a//history////":      "/chat/a/history",
		"/v1/chat/completions":         "/v1/chat/completions",
		"/v1//models//openai//gpt-4.1": "/v1/models/openai/gpt-4.1",
		"/chatter":                     "/chatter",
		"chat//":                       "chat",
		"*":                            "*",
	} {
		if got := CleanPath(path); got != want {
			t.Errorf("CleanPath(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestIsV1(t *testing.T) {
	for path, want := range map[string]bool{"/v1": true, "/v1/models": true, "/v10": false, "/v2/models": false, "/": false, "": false, "/a/v1/b": false} {
		if got := IsV1(path); got != want {
			t.Errorf("IsV1(%q) = %v", path, got)
		}
	}
}

func FuzzCleanPath(f *testing.F) {
	f.Add("//chat///")
	f.Fuzz(func(t *testing.T, path string) {
		if got := CleanPath(path); CleanPath(got) != got {
			t.Errorf("CleanPath(%q) = %q is not clean", path, got)
		}
	})
}
