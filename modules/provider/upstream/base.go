package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// endpoint matches the end of a URL that a provider calls, and not the part in front
// of it, which is what base_url wants. Anthropic's /v1 is a part of its endpoint.
var endpoint = regexp.MustCompile(`(/openai/deployments/[^/]+/(chat/)?completions|/openai/deployments/[^/]+/embeddings|/v1/messages(/count_tokens)?|/messages|(/chat)?/completions|/embeddings|/responses|/v1/models` +
	`|/api/(chat|generate|embed|embeddings|tags)|/models/[^/]*:\w+|/model/[^/]+/(converse|invoke)[\w-]*)/*$`)

func checkBase(base string) error {
	_, err := parseBase(base)
	return err
}

// parseBase checks a base URL and returns it without slashes at its end.
func parseBase(base string) (string, error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return "", fmt.Errorf("%q: want a URL such as https://api.example.com/v1", base)
	}
	if parsed.User != nil {
		return "", errors.New("must not contain credentials: want api_key or header")
	}
	if at := endpoint.FindStringIndex(parsed.Path); at != nil {
		want := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path[:at[0]]}
		return "", fmt.Errorf("%q: the provider adds %s: want %s", base, strings.TrimRight(parsed.Path[at[0]:], "/"), &want)
	}
	if parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "" {
		return "", fmt.Errorf("%q: want a URL without a query or fragment", base)
	}
	return strings.TrimRight(base, "/"), nil
}
