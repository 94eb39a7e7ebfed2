import { EntitySchema } from 'typeorm';

export type DeploymentRow = { onlyRow: boolean; sandbox: boolean; markedAt: Date };

export const deployment = new EntitySchema<DeploymentRow>({
  name: 'deployment',
  columns: {
    onlyRow: {
      name: 'only_row',
      type: 'boolean',
      primary: true,
      primaryKeyConstraintName: 'deployment_pkey',
      default: true,
    },
    sandbox: { type: 'boolean' },
    markedAt: { name: 'marked_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
  },
  checks: [{ name: 'deployment_only_row_check', expression: 'only_row' }],
});
