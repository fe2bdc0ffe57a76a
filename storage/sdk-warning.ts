/**
 * On Node 20 the AWS SDK warns of its own future releases in eight lines, among a command's output and the agent's log
 * lines. Which release is used is a matter of our lock file: see docs/decisions/0008-aws-sdk.md. To be called before
 * the SDK is loaded; child processes inherit it.
 */
export function silenceSdkWarning(): void {
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
}
