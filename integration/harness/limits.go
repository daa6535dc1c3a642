package harness

import (
	"fmt"
	"net/http"
)

// LimitedSite is a site that answers ok to every allowed request.
func LimitedSite(limits string) string {
	return fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		%s
	}
	respond "ok"
`, limits)
}

// Get makes a request to a limited site and reads the answer.
func (c *Client) Get(header ...string) *http.Response {
	c.T.Helper()
	resp := c.Do(http.MethodGet, "/", nil, header...)
	if body := ReadAll(c.T, resp); resp.StatusCode == http.StatusOK && body != "ok" {
		c.T.Fatalf("got %q", body)
	}
	return resp
}

// WantStatuses makes requests in sequence and checks their statuses.
func (c *Client) WantStatuses(what string, want ...int) {
	c.T.Helper()
	for i, status := range want {
		if got := c.Get().StatusCode; got != status {
			c.T.Errorf("%s: request %d answered %d, want %d", what, i+1, got, status)
		}
	}
}
