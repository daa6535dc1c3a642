package openai

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Azure configures calls of Azure OpenAI, which addresses models by deployment and
// has its own header for the key.
type Azure struct {
	// The API version, such as 2024-10-21. Default: none, for Azure's v1 API.
	APIVersion string `json:"api_version,omitempty"`
}

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

// check checks the options and the base URL, which many examples show with a path
// that does not belong to it.
func (a *Azure) check(base string) error {
	if a.APIVersion != "" && !apiVersion.MatchString(a.APIVersion) {
		return fmt.Errorf("azure: %q: want an API version such as 2024-10-21, or none for the v1 API", a.APIVersion)
	}
	if strings.HasSuffix(base, "/openai") || strings.Contains(base, "/openai/") {
		return fmt.Errorf("base_url: %q: want it without /openai and anything after it, as in https://NAME.openai.azure.com", base)
	}
	return nil
}

// path returns Azure's path of the endpoint that OpenAI has at path.
func (a *Azure) path(model, path string) (string, error) {
	if a.APIVersion == "" {
		return "/openai/v1" + path, nil
	}
	// Dots would lead to another path.
	if model == "" || model == "." || model == ".." {
		return "", provider.Invalid("model", "want the name of a deployment")
	}
	return "/openai/deployments/" + url.PathEscape(model) + path + "?api-version=" + url.QueryEscape(a.APIVersion), nil
}

func (o *OpenAI) unmarshalAzure(d *caddyfile.Dispenser) error {
	if o.Azure != nil {
		return d.Err("azure is already set")
	}
	o.Azure = new(Azure)
	d.Args(&o.Azure.APIVersion)
	if d.NextArg() {
		return d.ArgErr()
	}
	if v := o.Azure.APIVersion; v != "" && !apiVersion.MatchString(v) {
		return d.Errf("azure: %q: want an API version such as 2024-10-21, or none for the v1 API", v)
	}
	return nil
}
