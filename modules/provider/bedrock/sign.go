package bedrock

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	longDate  = "20060102T150405Z"
	shortDate = "20060102"
)

// accessKey is a pair of AWS access keys. Temporary ones have a session token.
type accessKey struct {
	id, secret, token string
}

// signer signs requests by AWS Signature Version 4, for one region and service:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
// It does not support requests with a query, because this API has none.
type signer struct {
	key             accessKey
	region, service string
}

// sign sets the headers that authorize req to send body at a time. The signed
// parts must not change afterwards: the method, the path, the host, the body,
// and the headers Content-Type and X-Amz-*.
func (s signer) sign(req *http.Request, body []byte, at time.Time) {
	at = at.UTC()
	req.Header.Set("X-Amz-Date", at.Format(longDate))
	if s.key.token != "" {
		req.Header.Set("X-Amz-Security-Token", s.key.token)
	}

	canonical, signed := canonicalRequest(req, body)
	scope := strings.Join([]string{at.Format(shortDate), s.region, s.service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, at.Format(longDate), scope, hash([]byte(canonical))}, "\n")

	key := []byte("AWS4" + s.key.secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", algorithm+
		" Credential="+s.key.id+"/"+scope+
		", SignedHeaders="+signed+
		", Signature="+hex.EncodeToString(mac(key, toSign)))
}

// canonicalRequest returns the form of a request that both sides sign, and the
// names of the headers in it.
func canonicalRequest(req *http.Request, body []byte) (canonical, signed string) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	values := map[string]string{"host": host}
	names := []string{"host"}
	for name, v := range req.Header {
		name = strings.ToLower(name)
		if name != "content-type" && !strings.HasPrefix(name, "x-amz-") {
			continue
		}
		names = append(names, name)
		values[name] = canonicalValue(v)
	}
	slices.Sort(names)

	var headers strings.Builder
	for _, name := range names {
		headers.WriteString(name + ":" + values[name] + "\n")
	}
	signed = strings.Join(names, ";")
	// Every service but S3 escapes the path a second time.
	path := escape(req.URL.EscapedPath(), "/")
	if path == "" {
		path = "/"
	}
	return strings.Join([]string{req.Method, path, "", headers.String(), signed, hash(body)}, "\n"), signed
}

// canonicalValue returns a header's values without superfluous white space.
func canonicalValue(values []string) string {
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(trimmed, ",")
}

// escape percent-encodes everything but RFC 3986's unreserved characters and
// keep. The functions of net/url leave more as it is, such as the colon in a
// model's name.
func escape(s, keep string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if strings.IndexByte(unreserved, c) >= 0 || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}
