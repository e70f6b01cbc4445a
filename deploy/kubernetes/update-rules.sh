#!/usr/bin/env bash
# Writes extras/monitoring/rules.yaml, the rules for the Prometheus Operator, from the rules for Prometheus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
{
  cat <<'HEAD'
# Made by update-rules.sh from deploy/prometheus/rules/tasker.yml, where the rules are tested: change them there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tasker
  labels:
    app.kubernetes.io/part-of: tasker
spec:
HEAD
  sed 's/^\(.\)/  \1/' ../prometheus/rules/tasker.yml
} >extras/monitoring/rules.yaml
