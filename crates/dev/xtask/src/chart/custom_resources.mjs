// Validates the objects of objects.jsonl that are of kinds which Kubernetes itself does not have.
import {readFileSync} from 'node:fs';
import * as monitoring from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import * as certificates from '@kubernetes-models/cert-manager/cert-manager.io/v1';

const groups = {'monitoring.coreos.com/v1': monitoring, 'cert-manager.io/v1': certificates};
let failed = false;
for (const line of readFileSync('objects.jsonl', 'utf8').split('\n').filter(Boolean)) {
  const object = JSON.parse(line);
  const name = `${object.kind}/${object.metadata.name}`;
  const Model = groups[object.apiVersion]?.[object.kind];
  try {
    if (!Model) throw new Error(`no validator for ${object.apiVersion}`);
    new Model(object).validate();
  } catch (error) {
    failed = true;
    console.log(`${name}: ${error.message}`);
  }
}
process.exit(failed ? 1 : 0);
